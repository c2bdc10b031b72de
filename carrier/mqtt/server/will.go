package server

import (
	"strings"
	"time"
)

// A will is what a client leaves behind if it goes without a goodbye. It is on
// the disk while the client is connected, so that it is published even if the
// broker dies first: then when the broker starts again.
type will struct {
	delay  uint32 // seconds
	qos    byte
	retain bool
	body   *body
}

func newWill(p *publish) *will {
	return &will{delay: p.props.willDelay, qos: p.qos, retain: p.retain, body: newBody(p, 0)}
}

// newBody takes a message out of its packet. Its expiry is counted from at (Unix
// milliseconds), or not yet if at is 0.
func newBody(p *publish, at int64) *body {
	b := &body{topic: p.topic, props: p.props.pass, payload: p.payload}
	if p.props.has(propMessageExpiry) {
		b.expires = int64(p.props.messageExpiry) * 1000
		if at != 0 {
			b.expires += at
		} else {
			b.expires = -b.expires - 1
		}
	}
	return b
}

// publishWill publishes the will of s now. Who has no room for it doesn't get it:
// there is nobody to tell.
func (h *hub) publishWill(s *session) {
	w := s.will
	h.setWill(s, nil)
	h.deleteWill(s.key)
	h.settle(s.key, w)
}

func (h *hub) deleteWill(key string) {
	_ = h.batch().Delete(textKey(kWill, key), nil)
	h.dirt.wills = true
}

// settle publishes a will whose record is gone, if its owner may still do that.
func (h *hub) settle(owner string, w *will) {
	b := w.body
	user, client, _ := strings.Cut(owner, "\x00")
	if !h.o.Users.admits(user) || !h.o.Users.mayWrite(user, client, b.topic) {
		h.stats.unwilled.Add(1)
		return
	}
	if b.expires < 0 {
		b.expires = time.Now().UnixMilli() - b.expires - 1
	}
	if h.publish(&publication{body: b, qos: w.qos, retain: w.retain, force: true, account: h.account(user)}) != success {
		h.stats.unwilled.Add(1)
	}
}
