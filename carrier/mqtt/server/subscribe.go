package server

import (
	"strings"

	"parley/carrier/mqtt"
)

// subscribe accepts a SUBSCRIBE. The SUBACK goes out when the subscriptions of a
// persistent session are on the disk; messages may come before.
func (h *hub) subscribe(c *conn, p *subscribe) {
	s := c.s
	codes := make([]code, len(p.filters))
	var fed []*subscription
	disk := false
	for i, f := range p.filters {
		if codes[i] = h.mayStore(s, h.maySubscribe(c, &f)); codes[i] >= unspecified {
			continue
		}
		old := s.subs[f.text]
		if old == nil && (len(s.subs) >= h.o.Limits.Subscriptions || !h.fitsState(s.account, costOfSub(f.text))) {
			codes[i] = quotaExceeded
			continue
		}
		if old == nil {
			h.charge(s.account, costOfSub(f.text))
		}
		sub := &subscription{filter: f.text, id: p.subID, qos: f.qos, handling: f.retainHandling,
			noLocal: f.noLocal, asPublished: f.retainAsPublished}
		send := f.retainHandling == 0 || f.retainHandling == 1 && old == nil
		sub.unfed = send && f.qos > 0 && s.persistent() || old != nil && old.unfed && !send
		if s.subs == nil {
			s.subs = make(map[string]*subscription)
		}
		s.subs[f.text] = sub
		h.subs.add(f.text, s, sub)
		if s.persistent() {
			disk = true
			h.putSub(s, sub)
		}
		if send {
			fed = append(fed, sub)
		}
		codes[i] = code(f.qos)
	}
	// What is retained later comes by itself; what was before must be on the disk
	// before it is fetched from there, so the answer waits its turn.
	limit := h.order
	h.do(c, disk || len(fed) > 0, true, func() {
		c.send(func(b []byte) []byte { return appendCodes(b, pSuback, c.version, p.id, codes) })
		if s.conn != c {
			return
		}
		for _, sub := range fed {
			h.feed(s, sub, limit)
		}
	})
}

func (h *hub) putSub(s *session, sub *subscription) {
	_ = h.batch().Set(subKey(s.id, sub.filter), packSub(sub), nil)
}

// mayStore adds to a verdict that the disk must have room.
func (h *hub) mayStore(s *session, c code) code {
	if c < unspecified && s.persistent() && !h.disk.space.room(64) {
		return quotaExceeded
	}
	return c
}

func (h *hub) maySubscribe(c *conn, f *filter) code {
	l := &h.o.Limits
	switch {
	case mqtt.CheckFilter(f.text) != nil, len(f.text) > l.TopicBytes, levels(f.text) > l.TopicLevels:
		return badFilter
	case strings.HasPrefix(f.text, "$share/"):
		return noShared
	case !h.o.Users.mayRead(c.user, c.client, f.text):
		return notAuthorized
	}
	return success
}

func (h *hub) unsubscribe(c *conn, p *subscribe) {
	s := c.s
	codes := make([]code, len(p.filters))
	disk := false
	for i, f := range p.filters {
		if s.subs[f.text] == nil {
			codes[i] = noSubscription
			continue
		}
		h.unsub(s, f.text)
		disk = disk || s.persistent()
	}
	h.do(c, disk, true, func() {
		c.send(func(b []byte) []byte { return appendCodes(b, pUnsuback, c.version, p.id, codes) })
	})
}

func (h *hub) unsub(s *session, filter string) {
	delete(s.subs, filter)
	h.charge(s.account, -costOfSub(filter))
	h.subs.remove(filter, s)
	if s.persistent() {
		_ = h.batch().Delete(subKey(s.id, filter), nil)
		h.dirt.entry(s.id)
	}
}

// A feed is the retained messages that a subscription is still to get.
type feed struct {
	sub    *subscription
	topics []string
	limit  uint64 // the number of the last message before the subscription
	cost   int64  // charged for topics; 0: they are not looked up yet
}

func (h *hub) feed(s *session, sub *subscription, limit uint64) {
	if h.retained.count == 0 {
		h.fed(s, sub)
		return
	}
	kept := s.feeds[:0]
	for _, f := range s.feeds { // one that was begun for the same filter is begun anew
		if f.sub.filter == sub.filter {
			h.charge(s.account, -f.cost)
			continue
		}
		kept = append(kept, f)
	}
	s.feeds = append(kept, &feed{sub: sub, limit: limit})
	s.wake()
}

// lookUp finds the topics of a feed, when it comes to it. It reports whether there is
// room for them.
func (h *hub) lookUp(s *session, f *feed) bool {
	if f.cost > 0 {
		return true
	}
	most := 1
	if strings.ContainsAny(f.sub.filter, "+#") {
		most = h.retained.count
	}
	if !h.fitsState(s.account, int64(most+1)*feedCost) {
		return false
	}
	f.topics = h.retained.match(f.sub.filter)
	f.cost = int64(len(f.topics)+1) * feedCost
	h.charge(s.account, f.cost)
	return true
}

func (h *hub) clearFeeds(s *session) {
	for _, f := range s.feeds {
		h.charge(s.account, -f.cost)
	}
	s.feeds = nil
}

func (h *hub) fed(s *session, sub *subscription) {
	if sub.unfed && s.persistent() && s.subs[sub.filter] == sub {
		sub.unfed = false
		h.putSub(s, sub)
	}
}

// feedAhead is how many entries may wait before more retained messages are fetched.
const feedAhead = 32

// hungry returns the next retained message that a session should get, or nil; then
// later says that there is no room for now.
func (h *hub) hungry(s *session) (_ *feed, _ *retainedItem, later bool) {
	for len(s.feeds) > 0 && len(s.byID) < min(feedAhead, h.o.Limits.QueueMessages) && len(s.zero) < feedAhead {
		f := s.feeds[0]
		wanted := s.subs[f.sub.filter] == f.sub
		if wanted && !h.lookUp(s, f) {
			return nil, nil, true
		}
		if !wanted || len(f.topics) == 0 {
			h.charge(s.account, -f.cost)
			s.feeds = s.feeds[1:]
			h.fed(s, f.sub)
			continue
		}
		item := h.retained.get(f.topics[0])
		if item != nil && item.num <= f.limit {
			return f, item, false
		}
		f.topics = f.topics[1:] // gone, or replaced since and sent as any other
	}
	return nil, nil, false
}

// feedOne fetches one retained message for a session and queues it. It reports
// whether there may be more; the hub must not be locked.
func (h *hub) feedOne(c *conn) bool {
	h.mu.Lock()
	s := c.s
	if s.conn != c || !s.ready {
		h.mu.Unlock()
		return false
	}
	f, item, later := h.hungry(s)
	h.mu.Unlock()
	if later {
		c.again()
	}
	if item == nil {
		return false
	}
	v, err := h.disk.get(textKey(kRetained, item.topic))
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.conn != c || len(s.feeds) == 0 || s.feeds[0] != f || len(f.topics) == 0 || f.topics[0] != item.topic {
		return true
	}
	if now := h.retained.get(item.topic); now != item {
		return true // hungry looks again
	}
	if err != nil || len(v) < retainedHead {
		f.topics = f.topics[1:]
		return true
	}
	b, err := unpackBody(v[retainedHead:])
	if err != nil || b.expires != 0 && b.expires <= nowMilli() {
		f.topics = f.topics[1:]
		return true
	}
	var subIDs []uint32
	if f.sub.id != 0 {
		subIDs = []uint32{f.sub.id}
	}
	size := b.size()
	qos := min(f.sub.qos, item.qos)
	if qos == 0 {
		f.topics = f.topics[1:]
		m := &message{num: h.nextNumber(), size: size}
		h.spread(m, b, []target{{s: s, retain: true, subIDs: subIDs}})
		return true
	}
	if s.bytes+int64(size) > h.o.Limits.QueueBytes && len(s.byID) > 0 || !h.fitsFed(s, size) {
		c.again()
		return false
	}
	f.topics = f.topics[1:]
	m := &message{num: h.nextNumber(), size: size, stored: s.persistent()}
	if m.stored {
		_ = h.batch().Set(numKey(kMessage, m.num), v[retainedHead:], nil)
	}
	e := &entry{m: m, num: m.num, expires: b.expires, size: size, qos: qos, retain: true, subIDs: subIDs}
	h.enqueue(s, e)
	h.do(nil, m.stored, true, func() { h.spread(m, b, []target{{s: s, e: e}}) })
	return true
}
