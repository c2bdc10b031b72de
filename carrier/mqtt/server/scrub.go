package server

import (
	"bytes"
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// dirt remembers where something was deleted since the last scrub.
type dirt struct {
	lowMessage, highMessage uint64 // high 0: nowhere
	lowSession, highSession uint64
	retained, wills         bool
}

func (d *dirt) message(num uint64) {
	if d.highMessage == 0 {
		d.lowMessage = num
	}
	d.lowMessage, d.highMessage = min(d.lowMessage, num), max(d.highMessage, num)
}

func (d *dirt) entry(session uint64) {
	if d.highSession == 0 {
		d.lowSession = session
	}
	d.lowSession, d.highSession = min(d.lowSession, session), max(d.highSession, session)
}

// all says that something may have been deleted anywhere.
func (d *dirt) all() {
	*d = dirt{highMessage: 1<<64 - 2, highSession: 1<<64 - 2, retained: true, wills: true}
}

func (d *dirt) add(o dirt) {
	if o.highMessage != 0 {
		d.message(o.lowMessage)
		d.message(o.highMessage)
	}
	if o.highSession != 0 {
		d.entry(o.lowSession)
		d.entry(o.highSession)
	}
	d.retained, d.wills = d.retained || o.retained, d.wills || o.wills
}

// scrubs erases from the files, every Options.Scrub, what was delivered or
// deleted since the last time: it writes the buffers out, so that the logs go,
// and rewrites the tables where something was deleted.
func (h *hub) scrubs(ctx context.Context) {
	t := time.NewTicker(h.o.Scrub)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.disk.failed:
			return
		case <-t.C:
		}
		if err := h.scrub(ctx); err != nil && ctx.Err() == nil {
			h.o.Trouble("delivered messages are not erased yet", err)
		}
	}
}

func (h *hub) scrub(ctx context.Context) error {
	h.mu.Lock()
	d := h.dirt
	h.dirt = dirt{}
	h.mu.Unlock()
	if d == (dirt{}) {
		return nil
	}
	err := h.disk.guard(func() error { return h.disk.scrub(ctx, d.spans()) })
	if err != nil {
		h.mu.Lock()
		h.dirt.add(d)
		h.mu.Unlock()
	}
	return err
}

// A span is a range of keys.
type span struct{ from, to []byte }

func (d *dirt) spans() []span {
	var out []span
	if d.highMessage != 0 {
		out = append(out, span{numKey(kMessage, d.lowMessage), numKey(kMessage, d.highMessage+1)})
	}
	if d.highSession != 0 {
		for _, k := range []byte{kSub, kReceived, kEntry} {
			out = append(out, span{numKey(k, d.lowSession), numKey(k, d.highSession+1)})
		}
		out = append(out, span{[]byte{kSession}, []byte{kSession + 1}})
	}
	if d.wills {
		out = append(out, span{[]byte{kWill}, []byte{kWill + 1}})
	}
	if d.retained {
		out = append(out, span{[]byte{kRetained}, []byte{kRetained + 1}}, span{[]byte{kRetainer}, []byte{kRetainer + 1}})
	}
	return out
}

// scrub rewrites tables. The entry without meaning across each span (it deletes
// range keys, of which there are none) makes a compaction merge and so rewrite
// every table there; else one with nothing below it would just be moved.
func (d *disk) scrub(ctx context.Context, spans []span) error {
	b := d.db.NewBatch()
	for _, s := range spans {
		if bytes.Compare(s.from, s.to) < 0 {
			if err := b.RangeKeyDelete(s.from, s.to, nil); err != nil {
				return err
			}
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	if err := d.db.Flush(); err != nil {
		return err
	}
	for _, s := range spans {
		if bytes.Compare(s.from, s.to) < 0 {
			if err := d.db.Compact(ctx, s.from, s.to, false); err != nil {
				return err
			}
		}
	}
	return nil
}
