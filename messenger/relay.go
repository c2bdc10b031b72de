package messenger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"parley"
)

// A link is what we know of a relay from how our calls went and from what its
// carrier says.
type link struct {
	connected bool
	why       string
	since     time.Time
}

// relayOf splits an address into its scheme and the relay's own address, which
// has no secret in it.
func (m *Messenger) relayOf(a parley.Address) (scheme string, relay parley.Address) {
	scheme, rest, _ := strings.Cut(string(a), ":")
	if f := m.o.Mailboxes[scheme]; f != nil {
		if r, err := f.Relay(a); err == nil {
			return scheme, r
		}
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
	return scheme, parley.Address(scheme + "://" + host)
}

// heard notes how a relay answered, where nobody tells better.
func (m *Messenger) heard(relay parley.Address, err error) {
	o := sort(m.ctx, err)
	if o == stopped || m.o.Events != nil {
		return
	}
	m.relayState(relay, o != offline, err)
}

// relayState notes whether a relay can be reached. When it comes back, everything
// that rested because of it is due.
func (m *Messenger) relayState(relay parley.Address, connected bool, err error) {
	m.mu.Lock()
	l := m.relays[relay]
	if l == nil {
		l = &link{}
		m.relays[relay] = l
	}
	back := connected && !l.connected
	if l.connected != connected || l.since.IsZero() {
		l.since = m.now()
	}
	l.connected, l.why = connected, ""
	if err != nil {
		l.why = why(err)
	}
	if back {
		for _, r := range m.resting {
			r.until = time.Time{}
		}
	}
	m.mu.Unlock()
	if back {
		m.poke(workSeal | workSend | workJobs)
	}
}

// watchRelays asks carriers that know to tell.
func (m *Messenger) watchRelays() {
	if m.o.Events != nil {
		m.o.Events(m.relayState, m.mailboxTrouble)
	}
}

// mailboxTrouble notes what a carrier says about one mailbox of ours.
func (m *Messenger) mailboxTrouble(at parley.Endpoint, cause error) {
	if m.ctx.Err() != nil {
		return
	}
	m.wg.Go(func() {
		text := ""
		if cause != nil {
			text = cause.Error()
		}
		err := m.tx(m.ctx, "mailbox: trouble", func(t *tx) error {
			if errors.Is(cause, ErrMissed) {
				return t.missed(at)
			}
			return t.exec("UPDATE paths SET why = ? WHERE dir = 'in' AND secret = ?", text, at.Secret)
		})
		if err != nil && m.ctx.Err() == nil {
			m.log.Error("messenger: trouble with a mailbox cannot be noted", "error", err)
		}
	})
}

// missed says that a relay has lost what it kept for us, once a day.
func (t *tx) missed(at parley.Endpoint) error {
	var id int64
	err := t.row("SELECT line FROM paths WHERE dir = 'in' AND secret = ? AND line IS NOT NULL", at.Secret)(&id)
	if isNone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	l, err := t.line(id)
	if err != nil {
		return err
	}
	lines := []line{l}
	if l.role == accountRole {
		if lines, err = t.peersOf(l); err != nil {
			return err
		}
	}
	for _, l := range lines {
		err := t.noticeOnce(l, "missed on "+t.now().UTC().Format(time.DateOnly),
			"The broker has forgotten this device: what others have sent while it was away may be missing. Ask them.")
		if err != nil {
			return err
		}
	}
	return nil
}

// relaysFor returns the relays to make mailboxes at: those asked for, else the
// profile's own, else the fallback.
func (m *Messenger) relaysFor(asked []string, fallback []parley.Address) (list []parley.Address, chosen bool, err error) {
	for _, r := range asked {
		list = append(list, parley.Address(strings.TrimSpace(r)))
	}
	chosen = len(list) > 0
	if !chosen {
		list = m.set.Relays
	}
	if len(list) == 0 {
		list = fallback
	}
	if len(list) == 0 {
		return nil, false, fmt.Errorf("%w: name one with its address, or set the profile's default", ErrNoRelay)
	}
	var unique []parley.Address
	for _, r := range list {
		if !slices.Contains(unique, r) {
			unique = append(unique, r)
		}
	}
	if len(unique) > maxRelays {
		return nil, false, fmt.Errorf("%w: %d relays, at most %d for one contact", ErrState, len(unique), maxRelays)
	}
	for _, r := range unique {
		scheme, _, ok := strings.Cut(string(r), "://")
		if !ok {
			return nil, false, fmt.Errorf("%w: %q is not a relay's address (scheme://…)", ErrNoRelay, r)
		}
		if _, err := m.carrier(scheme); err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrNoRelay, err)
		}
	}
	return unique, chosen, nil
}

// maxRelays is how many relays one contact may have on each side.
const maxRelays = 4

// Status is the messenger at a glance.
func (m *Messenger) Status(ctx context.Context) (s Status, err error) {
	s.Name, s.Profile = m.set.Name, m.p.Dir()
	troubles := map[parley.Address]string{}
	boxes := map[parley.Address]int{}
	err = m.tx(ctx, "status", func(t *tx) error {
		err := t.row(`SELECT (SELECT count(*) FROM contacts), (SELECT count(*) FROM timeline WHERE author = 0 AND state = 'queued'),
			(SELECT count(*) FROM inbox WHERE state = 'kept'), (SELECT count(*) FROM timeline WHERE author NOT IN (0, -1) AND state = 'received')`)(
			&s.Contacts, &s.Queued, &s.Waiting, &s.Unread)
		if err != nil {
			return err
		}
		all, err := t.paths("line IS NOT NULL AND state NOT IN ('delete', 'dead')")
		for _, p := range all {
			boxes[p.relay] += 0
			if p.dir == "in" {
				boxes[p.relay]++
			}
			if p.why != "" {
				troubles[p.relay] = p.why
			}
		}
		return err
	})
	if err != nil {
		return s, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Dropped = m.dropped
	s.Relays = []RelayStatus{}
	for relay, n := range boxes {
		r := RelayStatus{Address: string(relay), Mailboxes: n, Error: troubles[relay]}
		if l := m.relays[relay]; l != nil {
			r.Connected, r.Since = l.connected, l.since
			if l.why != "" {
				r.Error = l.why
			}
		}
		s.Relays = append(s.Relays, r)
	}
	slices.SortFunc(s.Relays, func(a, b RelayStatus) int { return strings.Compare(a.Address, b.Address) })
	return s, nil
}
