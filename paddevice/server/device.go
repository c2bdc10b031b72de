package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"parley"
	"parley/padstore"
	"parley/secure/otp"
)

// A Pad is what the device needs of one: [padstore.Pad] is one.
type Pad interface {
	otp.Pad
	Self() parley.Name
	Peer() parley.Name
	Version() otp.Version
	Need(m int) int64
	PackageOnce(ctx context.Context, msg []byte) ([]byte, error)
	UnpackageOnce(ctx context.Context, packet []byte) (*otp.Opened, error)
	Grant(ctx context.Context, id [16]byte, n int64) ([]byte, error)
}

// Pads is a folder of them. Find's error is [parley.ErrNoKey].
type Pads interface {
	Find(self, peer parley.Name) (Pad, error)
	All() []Pad
	Close() error
}

// device does what clients ask for, if somebody allows it.
type device struct {
	dir      string
	pads     Pads
	confirm  *Confirm
	log      *Log
	answered *answered
	allowAll bool
	say      func(format string, args ...any) // to the person at the terminal
}

var errSelf = fmt.Errorf("%w: a pad is shared with somebody else, never with oneself", parley.ErrRefused)

// find returns a pad. Only names that a pad has are ever used: none is a path.
func (d *device) find(self, peer parley.Name) (Pad, error) {
	if self == peer {
		return nil, errSelf
	}
	return d.pads.Find(self, peer)
}

// A job is one use of a pad. Its id is nil with the original's RPC.
type job struct {
	client     string
	self, peer parley.Name
	id         *[16]byte
	data       []byte
}

// packaged seals a message: when the person allows it, or has allowed the same id before.
func (d *device) packaged(ctx context.Context, j job) ([]byte, error) {
	return d.spend(ctx, j, OpPackage, len(j.data), func(ctx context.Context, p Pad) ([]byte, error) {
		if j.id == nil {
			return p.PackageOnce(ctx, j.data)
		}
		return p.Package(ctx, *j.id, j.peer, j.data)
	})
}

// granted gives n bytes of pad to the peer.
func (d *device) granted(ctx context.Context, j job, n int64) ([]byte, error) {
	p, err := d.find(j.self, j.peer)
	switch {
	case err != nil:
		return nil, err
	case p.Version() != otp.V2:
		return nil, fmt.Errorf("%w: a pad of version 1 cannot be granted", parley.ErrRefused)
	case n <= 0 || n > otp.MaxPad:
		return nil, fmt.Errorf("%w: a grant of %d bytes", parley.ErrRefused, n)
	}
	return d.spend(ctx, j, OpGrant, 16, func(ctx context.Context, p Pad) ([]byte, error) {
		return p.Grant(ctx, *j.id, n)
	}, n)
}

func (d *device) spend(ctx context.Context, j job, op string, m int, do func(context.Context, Pad) ([]byte, error), given ...int64) ([]byte, error) {
	p, err := d.find(j.self, j.peer)
	if err != nil {
		return nil, err
	}
	defer d.log.Sync()
	key := ""
	if j.id != nil {
		key = questionKey(op, j.self, j.peer, j.id[:])
	}
	if key == "" || !d.answered.has(ctx, key) {
		q := Question{Op: op, Self: j.self, Peer: j.peer, Client: j.client, Message: int64(m), Pad: p.Need(m)}
		for _, n := range given {
			q.Pad += n
		}
		// What cannot be done anyway is nothing to bother a person with.
		st, err := p.Status(ctx, j.peer)
		if err != nil {
			return nil, err
		}
		if st.Held != "" {
			return nil, fmt.Errorf("%w: %w: %s", parley.ErrDenied, otp.ErrHeld, st.Held)
		}
		if int64(m) > st.Largest || q.Pad > st.Left {
			return nil, fmt.Errorf("%w: %w: this needs %d bytes of pad, and %d are left", parley.ErrRefused, otp.ErrDepleted, q.Pad, st.Left)
		}
		q.Left = st.Left - q.Pad
		if err := d.ask(ctx, questionID(key, j.data, given), q); err != nil {
			return nil, err
		}
	}
	// It is allowed: a client that has gone meanwhile finds it done.
	ctx = context.WithoutCancel(ctx)
	packet, err := do(ctx, p)
	if err == nil && key != "" {
		err = d.answered.add(ctx, key, otp.Digest(packet))
	}
	if err != nil {
		return nil, err
	}
	return packet, nil
}

// opened opens a packet. What a packet of that length can hold at most is what a rule
// about messages counts.
func (d *device) opened(ctx context.Context, j job) (*otp.Opened, error) {
	p, err := d.find(j.self, j.peer)
	if err != nil {
		return nil, err
	}
	defer d.log.Sync()
	most, use, err := measure(p.Version(), j.data)
	if err != nil {
		d.log.Add(Entry{Kind: padstore.Malformed, Peer: string(j.peer), Client: j.client, Text: fmt.Sprintf("a packet of %d bytes is none of this kind of pad", len(j.data))})
		return nil, err
	}
	key, digest := "", otp.Digest(j.data)
	if j.id != nil {
		key = questionKey(OpUnpackage, j.self, j.peer, digest[:])
	}
	if key == "" || !d.answered.has(ctx, key) {
		st, err := p.Status(ctx, j.peer)
		if err != nil {
			return nil, err
		}
		q := Question{Op: OpUnpackage, Self: j.self, Peer: j.peer, Client: j.client, Message: most, Pad: use, Left: st.Left}
		if err := d.ask(ctx, questionID(key, j.data, nil), q); err != nil {
			return nil, err
		}
	}
	ctx = context.WithoutCancel(ctx)
	if j.id == nil {
		return p.UnpackageOnce(ctx, j.data)
	}
	o, err := p.Unpackage(ctx, j.peer, j.data)
	if err == nil {
		err = d.answered.add(ctx, key, digest)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// measure returns the longest message that a packet may hold, and the pad it uses.
func measure(v otp.Version, packet []byte) (most, use int64, err error) {
	if v == otp.V1 {
		_, m, err := otp.ParseV1(packet)
		return int64(m), otp.UseV1(m), err
	}
	_, use, err = otp.Parse(packet)
	return use - otp.Use(0) + 48, use, err
}

var questions atomic.Uint64

// questionID tells questions apart that are open at the same time. A package without an
// id is never the same as another.
func questionID(key string, data []byte, given []int64) string {
	if key == "" {
		return fmt.Sprint("once ", questions.Add(1))
	}
	return fmt.Sprintf("%s %x %d", key, otp.Digest(data), given)
}

// done burns, and forgets the question before.
func (d *device) done(ctx context.Context, j job, packet [32]byte) error {
	p, err := d.find(j.self, j.peer)
	if err != nil {
		return err
	}
	if err := d.answered.done(ctx, packet); err != nil {
		return err
	}
	return p.Done(ctx, j.peer, packet)
}

func (d *device) status(ctx context.Context, j job) (otp.Status, error) {
	p, err := d.find(j.self, j.peer)
	if err != nil {
		return otp.Status{}, err
	}
	return p.Status(ctx, j.peer)
}

func (d *device) all(ctx context.Context) (all []otp.Status) {
	for _, p := range d.pads.All() {
		if st, err := p.Status(ctx, p.Peer()); err == nil {
			all = append(all, st)
		}
	}
	return all
}

// ask lets the owner's rules answer, or a person.
func (d *device) ask(ctx context.Context, key string, q Question) error {
	if d.allowAll {
		return nil
	}
	if q.Op != OpGrant {
		yes, err := allowed(d.dir, q)
		if err != nil {
			d.say("The rules cannot be read, and none is in force: %v\n", err)
		}
		if yes {
			return nil
		}
	}
	err := d.confirm.Ask(ctx, key, q)
	e := Entry{Peer: string(q.Peer), Client: q.Client, Text: q.String()}
	switch {
	case errors.Is(err, errRejected):
		e.Kind = KindDenied
	case errors.Is(err, errTimeout):
		e.Kind = KindTimeout
	case errors.Is(err, errBusy):
		e.Kind = KindBusy
	default:
		return err
	}
	d.log.Add(e)
	return err
}

// note takes what a pad tells.
func (d *device) note(e padstore.Event) {
	d.log.Add(Entry{Kind: e.Kind, Peer: string(e.Peer), Text: e.Text})
}

// String says what a question is about.
func (q Question) String() string {
	switch q.Op {
	case OpPackage:
		return fmt.Sprintf("package a message of %d bytes from %s to %s, with %d bytes of pad", q.Message, q.Self, q.Peer, q.Pad)
	case OpUnpackage:
		return fmt.Sprintf("unpackage a message of up to %d bytes from %s to %s, with %d bytes of pad", q.Message, q.Peer, q.Self, q.Pad)
	}
	return fmt.Sprintf("give %d bytes of %s's pad to %s for ever", q.Pad, q.Self, q.Peer)
}
