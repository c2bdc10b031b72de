package server

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// load reads all that the disk holds, except for bodies.
func (h *hub) load() error {
	byID := make(map[uint64]*session)
	now := nowMilli()
	err := h.disk.each(kSession, func(key, v []byte) error {
		r, err := unpackSession(v)
		if err != nil {
			return err
		}
		user, client, _ := strings.Cut(string(key), "\x00")
		s := h.newSession(string(key), user, client)
		s.id, s.expiry, s.left, s.sent = r.id, r.expiry, r.left, r.sent
		if s.left == 0 { // the broker died while the client was there
			s.left, s.sent = now, 1<<64-1
		}
		h.order = max(h.order, r.id)
		byID[s.id] = s
		return nil
	})
	if err == nil {
		err = h.loadSubs(byID)
	}
	if err == nil {
		err = h.loadEntries(byID)
	}
	if err == nil {
		err = h.disk.each(kReceived, func(key, v []byte) error {
			s := byID[number(key)]
			if s == nil || len(key) != 10 {
				return errRecord
			}
			if s.received == nil {
				s.received = make(map[uint16]struct{})
			}
			s.received[binary.BigEndian.Uint16(key[8:])] = struct{}{}
			h.charge(s.account, holdCost)
			return nil
		})
	}
	if err == nil {
		err = h.loadRetained(now)
	}
	if err == nil {
		err = h.loadWills()
	}
	if err != nil {
		return fmt.Errorf("reading the sessions: %w", err)
	}
	for _, s := range byID {
		if h.o.Users.admits(s.user) {
			h.recheck(s)
		} else {
			h.mute(s)
		}
		if s.expiry == 0 {
			h.end(s)
			continue
		}
		s.alarm = h.set(s.left+int64(s.expiry)*1000, func() { h.end(s) })
	}
	h.dirt.all()
	return nil
}

// number reads the session's number at the start of a key.
func number(key []byte) uint64 {
	if len(key) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

func (h *hub) loadSubs(byID map[uint64]*session) error {
	return h.disk.each(kSub, func(key, v []byte) error {
		s := byID[number(key)]
		if s == nil {
			return errRecord
		}
		sub := &subscription{filter: string(key[8:])}
		if err := unpackSub(v, sub); err != nil {
			return err
		}
		if s.subs == nil {
			s.subs = make(map[string]*subscription)
		}
		s.subs[sub.filter] = sub
		h.subs.add(sub.filter, s, sub)
		h.charge(s.account, costOfSub(sub.filter))
		return nil
	})
}

func (h *hub) loadEntries(byID map[uint64]*session) error {
	messages := make(map[uint64]*message)
	err := h.disk.each(kEntry, func(key, v []byte) error {
		s := byID[number(key)]
		if s == nil || len(key) != 16 {
			return errRecord
		}
		e, err := unpackEntry(v)
		if err != nil {
			return err
		}
		e.num = binary.BigEndian.Uint64(key[8:])
		h.order = max(h.order, e.num)
		if !e.released {
			m := messages[e.num]
			if m == nil {
				m = &message{num: e.num, size: e.size, stored: true}
				messages[e.num] = m
			}
			m.refs++
			e.m = m
		}
		if s.byID == nil {
			s.byID = make(map[uint16]*entry)
		}
		if s.byID[e.pid] != nil || e.pid == 0 {
			return errRecord
		}
		s.byID[e.pid] = e
		s.bytes += int64(e.size)
		s.lastID = e.pid
		h.queued++
		h.weigh(s, e.weight())
		s.account.stored += int64(e.size)
		e.visible = true
		e.dup = e.num <= s.sent
		if s.sent == 1<<64-1 { // what could have been under way when the broker died
			e.dup = len(s.byID) <= h.o.Limits.Inflight || e.released
		}
		s.link(e)
		return nil
	})
	for _, s := range byID {
		s.next = s.head
		if s.sent == 1<<64-1 {
			s.sent = 0
			for e := s.head; e != nil; e = e.next {
				if e.dup {
					s.sent = max(s.sent, e.num)
				}
			}
		}
		h.order = max(h.order, s.sent)
	}
	return err
}

func (h *hub) loadRetained(now int64) error {
	err := h.disk.each(kRetained, func(key, v []byte) error {
		if len(v) < retainedHead {
			return errRecord
		}
		b, err := unpackBody(v[retainedHead:])
		if err != nil {
			return err
		}
		item := &retainedItem{topic: string(key), num: binary.BigEndian.Uint64(v), qos: v[8], size: b.size(), expires: b.expires,
			account: &h.unknown}
		h.order = max(h.order, item.num)
		h.keepRetained(item)
		return nil
	})
	if err != nil {
		return err
	}
	return h.loadRetainers()
}

// loadRetainers gives retained messages to the accounts of who published them.
func (h *hub) loadRetainers() error {
	return h.disk.each(kRetainer, func(key, v []byte) error {
		if item := h.retained.get(string(key)); item != nil {
			h.chargeRetained(item, -1)
			item.account = h.account(string(v))
			h.chargeRetained(item, 1)
		}
		return nil
	})
}

// loadWills takes up the wills of clients that the broker lost when it ended.
func (h *hub) loadWills() error {
	type owned struct {
		key string
		w   *will
	}
	var all []owned
	err := h.disk.each(kWill, func(key, v []byte) error {
		w, err := unpackWill(append([]byte(nil), v...))
		all = append(all, owned{string(key), w})
		return err
	})
	if err != nil {
		return err
	}
	for _, x := range all {
		s := h.sessions[x.key]
		if s != nil && x.w.delay > 0 && s.expiry > 0 {
			h.setWill(s, x.w)
			s.willAlarm = h.set(s.left+int64(x.w.delay)*1000, func() { h.publishWill(s) })
			continue
		}
		h.deleteWill(x.key)
		h.settle(x.key, x.w)
	}
	return nil
}
