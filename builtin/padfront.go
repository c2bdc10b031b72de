package builtin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"parley"
	"parley/messenger"
	"parley/secure/otp"
)

// A padFront is one pad as the messenger sees it: it answers at once, for the messenger
// asks in the midst of a commit. What takes longer, because a device has to be asked and
// a person there perhaps, goes on beside it; the messenger is told when it is worth to
// ask again, and the same question then gets the answer.
type padFront struct {
	p     *pads
	setup PadSetup

	mu         sync.Mutex
	pad        otp.Pad
	closePad   func() error
	self, peer parley.Name
	calls      map[string]*padCall
	slow       bool // the device lets us wait: nobody waits for it any more
	status     *otp.Status
	why        string // trouble with it
	looked     time.Time
	looking    chan struct{} // closed when the device has told; nil: nobody asks
}

const (
	padGrace   = 150 * time.Millisecond // that a commit waits for a device
	padSoon    = 50 * time.Millisecond  // until the messenger is told of what was answered
	padRetry   = 20 * time.Second       // between two tries at what is in trouble
	padRefresh = 10 * time.Second       // the age of a status from which it is asked anew
	padAtOnce  = 16                     // questions to a device
)

// A padCall is a question to a device.
type padCall struct {
	done   chan struct{}
	answer any
	err    error
}

var _ otp.Pad = (*padFront)(nil)

// use opens the pad if need be.
func (f *padFront) use() (otp.Pad, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pad != nil {
		return f.pad, nil
	}
	if f.p.ctx.Err() != nil {
		return nil, fmt.Errorf("%w: the messenger ends", parley.ErrOffline)
	}
	pad, closePad, self, peer, err := f.setup.openPad()
	if err != nil {
		return nil, err
	}
	f.pad, f.closePad, f.self, f.peer = pad, closePad, self, peer
	return pad, nil
}

func (f *padFront) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pad == nil {
		return nil
	}
	f.pad = nil
	return f.closePad()
}

// inspect asks for the status and waits for it.
func (f *padFront) inspect(ctx context.Context) (st otp.Status, err error) {
	pad, err := f.use()
	if err != nil {
		return st, err
	}
	if st, err = pad.Status(ctx, f.peer); err != nil {
		return st, err
	}
	f.note(&st, nil)
	return st, nil
}

func (f *padFront) note(st *otp.Status, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Now()
	f.why = ""
	if err != nil {
		f.why = inWords(err)
		return
	}
	f.status = st
}

// look is what is known of the pad.
func (f *padFront) look() *messenger.Pad {
	f.refresh()
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.setup.File
	if at == "" {
		at = "device " + f.setup.Device
	}
	if f.status == nil {
		if f.why == "" {
			return nil
		}
		return &messenger.Pad{At: at, Why: f.why, Source: "unknown", Largest: otp.MaxBody}
	}
	st := f.status
	p := &messenger.Pad{
		Version: int(st.Version), Size: st.Size, Left: st.Left, Theirs: st.Theirs, Largest: st.Largest,
		Everlasting: st.Unconditional, Source: st.Source, At: at, Why: st.Held,
	}
	if f.why != "" {
		p.Why = f.why
	}
	return p
}

// refresh asks for the status: of a file now, of a device beside; only the first time
// it is waited for, a little.
func (f *padFront) refresh() {
	if f.setup.File != "" {
		_, err := f.inspect(context.Background())
		if err != nil {
			f.note(nil, err)
		}
		return
	}
	f.mu.Lock()
	told, first := f.looking, f.status == nil && f.why == ""
	if told == nil && time.Since(f.looked) >= padRefresh {
		told = make(chan struct{})
		if f.p.beside(func(ctx context.Context) { f.watch(ctx, told) }) {
			f.looking = told
		}
	}
	waits := f.looking != nil && first
	f.mu.Unlock()
	if waits {
		timer := time.NewTimer(padGrace)
		defer timer.Stop()
		select {
		case <-told:
		case <-timer.C:
		}
	}
}

// watch asks a device for its status, once.
func (f *padFront) watch(ctx context.Context, told chan struct{}) {
	defer close(told)
	ctx, cancel := context.WithTimeout(ctx, padRetry)
	defer cancel()
	if _, err := f.inspect(ctx); err != nil {
		f.note(nil, err)
	}
	f.mu.Lock()
	f.looking = nil
	f.mu.Unlock()
}

// beside runs f in a goroutine, unless everything ends.
func (p *pads) beside(f func(context.Context)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.ctx.Err() != nil {
		return false
	}
	p.wg.Go(func() { f(p.ctx) })
	return true
}

// tell has the messenger look again, after a while.
func (p *pads) tell(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.soon && after <= padSoon || p.closed || p.ctx.Err() != nil {
		return
	}
	if after <= padSoon {
		p.soon = true
	}
	p.wg.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-p.ctx.Done():
			return
		case <-timer.C:
		}
		p.mu.Lock()
		again := p.again
		if after <= padSoon {
			p.soon = false
		}
		p.mu.Unlock()
		if again != nil {
			again()
		}
	})
}

// pending is the error of what has to wait.
func pending(format string, args ...any) error {
	return &messenger.PadPending{Why: fmt.Sprintf(format, args...)}
}

// final reports whether an error is about the message and not about the moment.
func final(err error) bool {
	for _, e := range []error{parley.ErrForged, parley.ErrMalformed, parley.ErrSeen, parley.ErrRefused} {
		if errors.Is(err, e) {
			return !errors.Is(err, otp.ErrHeld)
		}
	}
	return false
}

// trouble turns an error that may pass into one that waits.
func (f *padFront) trouble(err error) error {
	f.note(nil, err)
	f.p.tell(padRetry)
	return pending("the pad: %s", inWords(err))
}

// inWords says for people why a pad cannot be used now.
func inWords(err error) string {
	switch {
	case errors.Is(err, parley.ErrOffline):
		return "the pad device cannot be reached"
	case errors.Is(err, otp.ErrHeld):
		return "nothing is sent with the pad, because it may be an old copy: see “parley pad show”, and “parley pad skip” if it is the only one"
	}
	return err.Error()
}

// ask puts one question to the pad. A file answers at once.
func (f *padFront) ask(ctx context.Context, key string, do func(context.Context, otp.Pad) (any, error)) (any, error) {
	if f.setup.File != "" {
		pad, err := f.use()
		var v any
		if err == nil {
			v, err = do(ctx, pad)
		}
		if err == nil || final(err) || ctx.Err() != nil {
			return v, err
		}
		return nil, f.trouble(err)
	}
	f.mu.Lock()
	c := f.calls[key]
	if c == nil {
		if len(f.calls) >= padAtOnce && f.open() >= padAtOnce {
			f.mu.Unlock()
			return nil, pending("others are asked for at the pad device first")
		}
		c = &padCall{done: make(chan struct{})}
		if !f.p.beside(func(ctx context.Context) { f.call(ctx, c, do) }) {
			f.mu.Unlock()
			return nil, pending("the messenger ends")
		}
		f.calls[key] = c
	}
	grace := padGrace
	if f.slow {
		grace = 0
	}
	f.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
	default:
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			f.mu.Lock()
			f.slow = true
			why := f.why
			f.mu.Unlock()
			if why != "" {
				return nil, pending("%s", why)
			}
			return nil, pending("the pad device, where a person has to allow it, has not answered yet")
		}
	}
	f.mu.Lock()
	if !errors.Is(c.err, parley.ErrDenied) { // what was denied is not asked again by itself
		delete(f.calls, key)
	}
	f.mu.Unlock()
	return c.answer, c.err
}

// open counts the questions without an answer. The lock is held.
func (f *padFront) open() (n int) {
	for _, c := range f.calls {
		select {
		case <-c.done:
		default:
			n++
		}
	}
	return n
}

// call asks a device until there is an answer that is about the message. A person who
// was not there in time is asked again; one who said no is not.
func (f *padFront) call(ctx context.Context, c *padCall, do func(context.Context, otp.Pad) (any, error)) {
	defer f.p.tell(padSoon)
	defer close(c.done)
	for pause := time.Second; ; pause = min(2*pause, padRetry) {
		pad, err := f.use()
		if err == nil {
			c.answer, err = do(ctx, pad)
		}
		f.mu.Lock()
		f.why = ""
		if err == nil || final(err) || errors.Is(err, parley.ErrDenied) && !errors.Is(err, otp.ErrUnanswered) && !errors.Is(err, otp.ErrHeld) {
			f.slow = false
			f.looked = time.Time{}
			f.mu.Unlock()
			c.err = err
			return
		}
		if !errors.Is(err, otp.ErrUnanswered) {
			f.why = inWords(err)
		}
		f.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			c.err = pending("the messenger ends")
			return
		case <-timer.C:
		}
	}
}

// Package is [otp.Pad]'s. What a person at the device has denied is [parley.ErrRefused]:
// the message fails, and may be sent again.
func (f *padFront) Package(ctx context.Context, id [16]byte, peer parley.Name, msg []byte) ([]byte, error) {
	return f.packet(ctx, "package "+hex.EncodeToString(id[:]), func(ctx context.Context, pad otp.Pad) (any, error) {
		return pad.Package(ctx, id, peer, msg)
	})
}

// granter is a pad that can give some of it away.
type granter interface {
	Grant(ctx context.Context, id [16]byte, peer parley.Name, n int64) ([]byte, error)
}

func (f *padFront) grant(ctx context.Context, id [16]byte, peer parley.Name, n int64) ([]byte, error) {
	return f.packet(ctx, "grant "+hex.EncodeToString(id[:]), func(ctx context.Context, pad otp.Pad) (any, error) {
		switch g := pad.(type) {
		case granter:
			return g.Grant(ctx, id, peer, n)
		case interface {
			Grant(ctx context.Context, id [16]byte, n int64) ([]byte, error)
		}:
			return g.Grant(ctx, id, n)
		}
		return nil, fmt.Errorf("%w: this pad cannot be granted", parley.ErrRefused)
	})
}

func (f *padFront) packet(ctx context.Context, key string, do func(context.Context, otp.Pad) (any, error)) ([]byte, error) {
	v, err := f.ask(ctx, key, do)
	if errors.Is(err, parley.ErrDenied) && !isPending(err) {
		f.mu.Lock()
		delete(f.calls, key)
		f.mu.Unlock()
		return nil, fmt.Errorf("%w: it was denied at the pad device", parley.ErrRefused)
	}
	if err != nil {
		return nil, err
	}
	return v.([]byte), nil
}

func isPending(err error) bool {
	p := (*messenger.PadPending)(nil)
	return errors.As(err, &p)
}

// Unpackage is [otp.Pad]'s. A packet whose opening was denied is kept, and asked about
// again when the messenger has been started anew.
func (f *padFront) Unpackage(ctx context.Context, peer parley.Name, packet []byte) (*otp.Opened, error) {
	digest := otp.Digest(packet)
	v, err := f.ask(ctx, "unpackage "+hex.EncodeToString(digest[:]), func(ctx context.Context, pad otp.Pad) (any, error) {
		return pad.Unpackage(ctx, peer, packet)
	})
	if errors.Is(err, parley.ErrDenied) && !isPending(err) {
		return nil, pending("it was denied at the pad device")
	}
	if err != nil {
		return nil, err
	}
	return v.(*otp.Opened), nil
}

// Done is [otp.Pad]'s. A device is told beside; it is told again by who asks again.
func (f *padFront) Done(ctx context.Context, peer parley.Name, packet [32]byte) error {
	if f.setup.File != "" {
		pad, err := f.use()
		if err != nil {
			return err
		}
		return pad.Done(ctx, peer, packet)
	}
	key := "done " + hex.EncodeToString(packet[:])
	_, err := f.ask(ctx, key, func(ctx context.Context, pad otp.Pad) (any, error) {
		return nil, pad.Done(ctx, peer, packet)
	})
	return err
}

// Status is [otp.Pad]'s.
func (f *padFront) Status(ctx context.Context, _ parley.Name) (otp.Status, error) {
	return f.inspect(ctx)
}
