package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
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

	// What was answered before, if it is not done. None of them uses pad.
	Again(ctx context.Context, id [16]byte, msg []byte) (packet []byte, ok bool, err error)
	GrantAgain(ctx context.Context, id [16]byte, n int64) (packet []byte, ok bool, err error)
	Reopen(ctx context.Context, packet []byte) (opened *otp.Opened, ok bool, err error)
}

// Pads is a folder of them. Find's error is [parley.ErrNoKey].
type Pads interface {
	Find(self, peer parley.Name) (Pad, error)
	All() []Pad
	Close() error
}

// device does what clients ask for, if somebody allows it.
type device struct {
	dir, marks string
	pads       Pads
	confirm    *Confirm
	log        *Log
	answered   *answered
	allowAll   bool
	say        func(format string, args ...any) // to the person at the terminal; does not wait

	flights flights
	packets [64]sync.Mutex // by a packet's digest: who opens it, and who has it burned
}

var (
	errSelf = fmt.Errorf("%w: a pad is shared with somebody else, never with oneself", parley.ErrRefused)
	errLong = fmt.Errorf("%w: no pad has names as long as these", parley.ErrNoKey)
)

// maxNames is the most bytes of two names that a file's name has room for.
const maxNames = 220

// find returns a pad. Only names that a pad has are ever used: none is a path.
func (d *device) find(self, peer parley.Name) (Pad, error) {
	if self == peer {
		return nil, errSelf
	}
	if len(self)+len(peer) > maxNames {
		return nil, errLong
	}
	p, err := d.pads.Find(self, peer)
	if err != nil && !errors.Is(err, parley.ErrNoKey) {
		d.trouble("the pad of "+string(self)+" with "+string(peer)+" cannot be used", err)
	}
	return p, err
}

// A job is one use of a pad. With the original's RPC it has no owner and no id.
type job struct {
	client     string // for people
	owner      string // the client's key
	self, peer parley.Name
	id         *[16]byte
	data       []byte
}

// A spending is a use of our own pad.
type spending struct {
	op    string
	size  int   // of the message
	given int64 // bytes of pad that are granted
	again func(context.Context, Pad) ([]byte, bool, error)
	do    func(context.Context, Pad) ([]byte, error)
}

// packaged seals a message.
func (d *device) packaged(ctx context.Context, j *job) ([]byte, error) {
	return d.spend(ctx, j, spending{
		op: OpPackage, size: len(j.data),
		again: func(ctx context.Context, p Pad) ([]byte, bool, error) { return p.Again(ctx, *j.id, j.data) },
		do: func(ctx context.Context, p Pad) ([]byte, error) {
			if j.id == nil {
				return p.PackageOnce(ctx, j.data)
			}
			return p.Package(ctx, *j.id, j.peer, j.data)
		},
	})
}

// granted gives n bytes of pad to the peer.
func (d *device) granted(ctx context.Context, j *job, n int64) ([]byte, error) {
	p, err := d.find(j.self, j.peer)
	switch {
	case err != nil:
		return nil, err
	case p.Version() != otp.V2:
		return nil, fmt.Errorf("%w: a pad of version 1 cannot be granted", parley.ErrRefused)
	case n <= 0 || n > otp.MaxPad:
		return nil, fmt.Errorf("%w: a grant of %d bytes", parley.ErrRefused, n)
	}
	return d.spend(ctx, j, spending{
		op: OpGrant, size: 16, given: n,
		again: func(ctx context.Context, p Pad) ([]byte, bool, error) { return p.GrantAgain(ctx, *j.id, n) },
		do:    func(ctx context.Context, p Pad) ([]byte, error) { return p.Grant(ctx, *j.id, n) },
	})
}

func (d *device) spend(ctx context.Context, j *job, s spending) ([]byte, error) {
	var id []byte
	if j.id != nil {
		id = j.id[:]
	}
	a, err := d.share(ctx, j, s.op, id, s.given, func(ctx context.Context, p Pad) (a answer, err error) {
		a.packet, err = d.spent(ctx, p, j, s)
		return a, err
	})
	return a.packet, err
}

// share does something with a pad once for all who ask for the same at the same time.
func (d *device) share(ctx context.Context, j *job, op string, id []byte, n int64, do func(context.Context, Pad) (answer, error)) (answer, error) {
	p, err := d.find(j.self, j.peer)
	if err != nil {
		return answer{}, err
	}
	defer d.log.Sync()
	key := fmt.Sprint("once ", questions.Add(1))
	if j.owner != "" {
		key = fmt.Sprintf("%s %s %q %q %x %d %x", j.owner, op, j.self, j.peer, id, n, sha256.Sum256(j.data))
	}
	size := int64(len(j.data))
	a, err := d.flights.do(ctx, key, size, func() { j.data = nil }, func(ctx context.Context) (answer, error) {
		a, err := do(ctx, p)
		d.internal(op, j, err)
		return a, err
	})
	if errors.Is(err, errBusy) {
		d.log.Add(Entry{Kind: KindBusy, Peer: string(j.peer), Client: j.client, Text: fmt.Sprintf("%s, %d bytes", op, size)})
	}
	return a, err
}

// spent asks and seals. Nobody is asked for what the pad keeps for this very client: that
// uses no pad. Whatever changes meanwhile, a yes to the one never becomes the other.
func (d *device) spent(ctx context.Context, p Pad, j *job, s spending) (packet []byte, err error) {
	yes := context.WithoutCancel(ctx) // once it is allowed, a client that has gone finds it done
	for again := false; ; {
		kept := false
		if j.id != nil {
			if packet, kept, err = s.again(ctx, p); err != nil {
				return nil, err
			}
			if kept && (again || d.owns(ctx, j, otp.Digest(packet))) {
				return packet, d.bind(yes, j, otp.Digest(packet))
			}
		}
		if err := d.askSpend(ctx, p, j, s, kept); err != nil {
			return nil, err
		}
		if again = kept; again {
			continue
		}
		packet, err := s.do(yes, p)
		if err == nil {
			err = d.bind(yes, j, otp.Digest(packet))
		}
		if err != nil {
			return nil, err
		}
		return packet, nil
	}
}

func (d *device) askSpend(ctx context.Context, p Pad, j *job, s spending, kept bool) error {
	q := Question{Op: s.op, Self: j.self, Peer: j.peer, Client: j.client, Again: kept, Message: int64(s.size), Pad: p.Need(s.size) + s.given}
	// What cannot be done anyway is nothing to bother a person with.
	st, err := p.Status(ctx, j.peer)
	if err != nil {
		return err
	}
	if kept {
		q.Pad, q.Left = 0, st.Left
		return d.ask(ctx, q)
	}
	if st.Held != "" {
		return fmt.Errorf("%w: %w: %s", parley.ErrDenied, otp.ErrHeld, st.Held)
	}
	if int64(s.size) > st.Largest || q.Pad > st.Left {
		return fmt.Errorf("%w: %w: this needs %d bytes of pad, and %d are left", parley.ErrRefused, otp.ErrDepleted, q.Pad, st.Left)
	}
	q.Left = st.Left - q.Pad
	return d.ask(ctx, q)
}

// opened opens a packet. What a packet of that length can hold at most is what a rule
// about messages counts.
func (d *device) opened(ctx context.Context, j *job) (*otp.Opened, error) {
	digest := otp.Digest(j.data)
	a, err := d.share(ctx, j, OpUnpackage, nil, 0, func(ctx context.Context, p Pad) (a answer, err error) {
		most, use, err := measure(p.Version(), j.data)
		if err != nil {
			d.log.Add(Entry{Kind: padstore.Malformed, Peer: string(j.peer), Client: j.client, Text: fmt.Sprintf("a packet of %d bytes is none of this kind of pad", len(j.data))})
			return a, err
		}
		a.opened, err = d.open(ctx, p, j, digest, Question{Op: OpUnpackage, Self: j.self, Peer: j.peer, Client: j.client, Message: most, Pad: use})
		return a, err
	})
	return a.opened, err
}

func (d *device) open(ctx context.Context, p Pad, j *job, digest [32]byte, q Question) (o *otp.Opened, err error) {
	yes, use := context.WithoutCancel(ctx), q.Pad
	for again := false; ; {
		kept := false
		if j.id != nil {
			if o, kept, err = p.Reopen(ctx, j.data); err != nil {
				return nil, err
			}
			if kept && (again || d.owns(ctx, j, digest)) {
				return o, d.bind(yes, j, digest)
			}
		}
		st, err := p.Status(ctx, j.peer)
		if err != nil {
			return nil, err
		}
		if q.Again, q.Pad, q.Left = kept, use, st.Left; kept {
			q.Pad = 0
		}
		if err := d.ask(ctx, q); err != nil {
			return nil, err
		}
		if again = kept; !again {
			return d.openNew(yes, p, j, digest)
		}
	}
}

// openNew opens what was allowed. The original's RPC has no done, so it has the pad burned
// at once, unless the packet is a client's that has not said done.
func (d *device) openNew(ctx context.Context, p Pad, j *job, digest [32]byte) (*otp.Opened, error) {
	defer d.holding(digest)()
	if j.id == nil {
		if owners, err := d.owners(ctx, j, digest); err != nil {
			return nil, err
		} else if len(owners) > 0 {
			if o, ok, err := p.Reopen(ctx, j.data); ok || err != nil {
				return o, err
			}
		}
		return p.UnpackageOnce(ctx, j.data)
	}
	o, err := p.Unpackage(ctx, j.peer, j.data)
	if err == nil {
		err = d.bind(ctx, j, digest)
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

// holding keeps others from opening or burning a packet meanwhile.
func (d *device) holding(digest [32]byte) (release func()) {
	m := &d.packets[int(digest[0])%len(d.packets)]
	m.Lock()
	return m.Unlock
}

// bind makes a packet the client's, on whose word it is burned.
func (d *device) bind(ctx context.Context, j *job, digest [32]byte) error {
	if j.owner == "" {
		return nil
	}
	return d.answered.add(ctx, packetKey(j.self, j.peer, digest), j.owner)
}

// owners returns the clients that a packet was allowed for and that are still paired.
func (d *device) owners(ctx context.Context, j *job, digest [32]byte) ([]string, error) {
	all, err := d.answered.owners(ctx, packetKey(j.self, j.peer, digest))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	clients, err := Clients(d.dir)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(owner string) bool {
		return !slices.ContainsFunc(clients, func(c Client) bool { return ownerOf(c.Key) == owner })
	}), nil
}

// ownerOf is a client's key in short.
func ownerOf(fingerprint string) string { return fingerprint[:min(32, len(fingerprint))] }

// owns reports whether a packet was allowed for this client. When that cannot be known it
// was not.
func (d *device) owns(ctx context.Context, j *job, digest [32]byte) bool {
	owners, err := d.owners(ctx, j, digest)
	return err == nil && slices.Contains(owners, j.owner)
}

// done burns, when the last client that the packet was allowed for says so. One that is
// another client's stays. One that is nobody's, since its client is not paired any more
// or a crash came before it was written down, anybody may finish.
func (d *device) done(ctx context.Context, j *job, packet [32]byte) error {
	p, err := d.find(j.self, j.peer)
	if err != nil {
		return err
	}
	defer d.holding(packet)()
	ctx = context.WithoutCancel(ctx)
	key := packetKey(j.self, j.peer, packet)
	owners, err := d.owners(ctx, j, packet)
	if err == nil {
		switch mine := slices.Contains(owners, j.owner); {
		case !mine && len(owners) > 0:
			return nil
		case len(owners) > 1:
			err = d.answered.drop(ctx, key, j.owner)
		default:
			// What is done in the pad and kept here is harmless; the other way round it would
			// be nobody's.
			if err = p.Done(ctx, j.peer, packet); err == nil {
				owners, err = d.answered.owners(ctx, key)
			}
			if err == nil {
				err = d.answered.drop(ctx, key, owners...)
			}
		}
	}
	d.internal("done", j, err)
	return err
}

func (d *device) status(ctx context.Context, j *job) (otp.Status, error) {
	p, err := d.find(j.self, j.peer)
	if err != nil {
		return otp.Status{}, err
	}
	st, err := p.Status(ctx, j.peer)
	d.internal("status", j, err)
	return st, err
}

func (d *device) all(ctx context.Context) (all []otp.Status) {
	for _, p := range d.pads.All() {
		st, err := p.Status(ctx, p.Peer())
		if err == nil {
			all = append(all, st)
		}
		d.internal("status", &job{self: p.Self(), peer: p.Peer()}, err)
	}
	return all
}

// ask lets the owner's rules answer, or a person.
func (d *device) ask(ctx context.Context, q Question) error {
	if d.allowAll {
		return nil
	}
	e := Entry{Peer: string(q.Peer), Client: q.Client, Text: q.String()}
	if q.Op != OpGrant {
		yes, err := allowed(d.dir, q)
		if err != nil {
			d.trouble("the rules cannot be read, and none is in force", err)
		}
		if yes {
			e.Kind = KindRuled
			d.log.Add(e)
			return nil
		}
	}
	err := d.confirm.Ask(ctx, q)
	switch {
	case errors.Is(err, errRejected):
		e.Kind = KindDenied
	case errors.Is(err, errTimeout):
		e.Kind = KindTimeout
	default:
		return err // of errBusy the log hears in share
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
	if q.Again {
		return fmt.Sprintf("%s again, without more pad: a message of up to %d bytes between %s and %s, for another client", q.Op, q.Message, q.Self, q.Peer)
	}
	switch q.Op {
	case OpPackage:
		return fmt.Sprintf("package a message of %d bytes from %s to %s, with %d bytes of pad", q.Message, q.Self, q.Peer, q.Pad)
	case OpUnpackage:
		return fmt.Sprintf("unpackage a message of up to %d bytes from %s to %s, with %d bytes of pad", q.Message, q.Peer, q.Self, q.Pad)
	}
	return fmt.Sprintf("give %d bytes of %s's pad to %s for ever", q.Pad, q.Self, q.Peer)
}
