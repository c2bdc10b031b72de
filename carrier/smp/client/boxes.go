package smpclient

import (
	"time"

	"parley/carrier/smp"
)

// add receives from a mailbox from now on.
func (l *link) add(b *box) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.boxes[b.rid] != nil {
		return ErrReceiving
	}
	l.boxes[b.rid] = b
	l.ensure()
	if l.conn != nil {
		b.subscribe(l.conn)
	}
	return nil
}

func (l *link) remove(b *box) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.boxes[b.rid] == b {
		delete(l.boxes, b.rid)
		l.used = time.Now()
	}
}

// again subscribes one mailbox once more, if the link is up; else that happens by itself.
func (l *link) again(b *box) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil && l.boxes[b.rid] == b {
		b.subscribe(l.conn)
	}
}

// event is called by the goroutine that reads. What is for no mailbox stays with
// the relay: it is redelivered when somebody subscribes.
func (l *link) event(e Event) {
	l.mu.Lock()
	b := l.boxes[e.ID]
	l.mu.Unlock()
	if b == nil {
		return
	}
	if e.Verb == smp.END {
		b.displaced()
		return
	}
	b.deliver(e.Body)
}
