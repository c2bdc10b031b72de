package parleytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"parley"
)

// FaultyScheme is the scheme of a [Faulty] network's addresses:
// faulty://RELAY for a relay, faulty://RELAY/ID for a mailbox.
const FaultyScheme = "faulty"

// Faults are chances from 0 to 1, drawn for each packet.
type Faults struct {
	Lose       float64       // the packet is lost on its way; the sender hears that the line broke
	LoseAnswer float64       // the packet is kept, and the sender hears that the line broke
	Duplicate  float64       // an acknowledgement is lost: the packet is delivered again
	Deny       float64       // a passing ErrDenied
	Full       float64       // a passing ErrFull
	Delay      time.Duration // up to this before each delivery, so that mailboxes overtake each other
}

// Faulty is a network of relays in memory, and the [parley.Binder] that reaches
// them. It behaves as SMP does: a mailbox keeps its order, delivers one packet
// at a time and again until it is acknowledged, takes unsigned packets only
// until it is secured and signed ones only after that. What it does wrong is
// seeded. It is safe for concurrent use, and for testing/synctest.
type Faulty struct {
	// Fault, if set, is asked before each operation ("claim", "join", "send",
	// "confirm", "secure", "delete", "deliver", "acked") and makes it fail.
	Fault func(op string, at parley.Address) error

	mu     sync.Mutex
	rnd    *mrand.Rand
	faults Faults
	max    int
	relays map[string]*faultyRelay
	wake   chan struct{} // closed and replaced at each change
}

type faultyRelay struct {
	down  bool
	dead  bool
	epoch int // grows with each restart
	in    map[string]*mailbox
	sent  int
}

type mailbox struct {
	rid, sid string
	key      string // who may send, once secured
	queue    []parcel
	next     uint64
	owner    *int // the receiver that took over last
}

type parcel struct {
	seq    uint64
	packet []byte
	bind   []byte
}

// NewFaulty returns a network without faults whose packets may have max bytes
// (0: 4000).
func NewFaulty(seed uint64, max int) *Faulty {
	if max == 0 {
		max = 4000
	}
	return &Faulty{
		rnd: mrand.New(mrand.NewPCG(seed, 7)), max: max,
		relays: map[string]*faultyRelay{}, wake: make(chan struct{}),
	}
}

// Set changes what goes wrong from now on.
func (f *Faulty) Set(faults Faults) {
	f.mu.Lock()
	f.faults = faults
	f.mu.Unlock()
}

// Down starts an outage of a relay, or ends it.
func (f *Faulty) Down(relay string, down bool) {
	f.change(relay, func(r *faultyRelay) { r.down = down; r.epoch++ })
}

// Restart breaks all connections of a relay: what is unacknowledged comes again.
func (f *Faulty) Restart(relay string) { f.change(relay, func(r *faultyRelay) { r.epoch++ }) }

// Kill ends a relay for ever, with all it holds.
func (f *Faulty) Kill(relay string) {
	f.change(relay, func(r *faultyRelay) { r.dead, r.in = true, map[string]*mailbox{} })
}

// Held counts the packets and the mailboxes at a relay.
func (f *Faulty) Held(relay string) (packets, mailboxes int) {
	f.change(relay, func(r *faultyRelay) {
		for _, b := range r.in {
			packets += len(b.queue)
		}
		mailboxes = len(r.in)
	})
	return packets, mailboxes
}

// Sent counts the packets a relay has taken since the start.
func (f *Faulty) Sent(relay string) (n int) {
	f.change(relay, func(r *faultyRelay) { n = r.sent })
	return n
}

// Inject puts a packet into a mailbox that is not secured, as a stranger could
// who knows its address.
func (f *Faulty) Inject(to parley.Address, packet []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, b, err := f.find(to)
	if err != nil {
		return err
	}
	if b.key != "" {
		return parley.ErrDenied
	}
	f.put(b, packet, []byte("key of a stranger"))
	return nil
}

func (f *Faulty) change(relay string, do func(*faultyRelay)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.relay(relay))
	f.signal()
}

func (f *Faulty) relay(name string) *faultyRelay {
	r := f.relays[name]
	if r == nil {
		r = &faultyRelay{in: map[string]*mailbox{}}
		f.relays[name] = r
	}
	return r
}

func (f *Faulty) signal() {
	close(f.wake)
	f.wake = make(chan struct{})
}

// find locates the mailbox of an address, with f.mu held.
func (f *Faulty) find(a parley.Address) (*faultyRelay, *mailbox, error) {
	host, sid, err := splitFaulty(a)
	if err != nil {
		return nil, nil, err
	}
	r := f.relay(host)
	if r.down || r.dead {
		return nil, nil, fmt.Errorf("%s: %w", host, parley.ErrOffline)
	}
	for _, b := range r.in {
		if b.sid == sid || b.rid == sid {
			return r, b, nil
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", host, parley.ErrDenied)
}

func splitFaulty(a parley.Address) (host, id string, err error) {
	u, err := url.Parse(string(a))
	if err != nil || u.Scheme != FaultyScheme || u.Host == "" {
		return "", "", fmt.Errorf("%q is not an address of this network: %w", a, parley.ErrRefused)
	}
	return u.Host, strings.Trim(u.Path, "/"), nil
}

func (f *Faulty) fault(op string, at parley.Address) error {
	if f.Fault == nil {
		return nil
	}
	return f.Fault(op, at)
}

func token() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Claim implements [parley.Carrier].
func (f *Faulty) Claim(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	if err := errors.Join(ctx.Err(), f.fault("claim", at)); err != nil {
		return parley.Endpoint{}, err
	}
	host, _, err := splitFaulty(at)
	if err != nil {
		return parley.Endpoint{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.relay(host)
	if r.down || r.dead {
		return parley.Endpoint{}, fmt.Errorf("%s: %w", host, parley.ErrOffline)
	}
	b := &mailbox{rid: token(), sid: token()}
	r.in[b.rid] = b
	return parley.Endpoint{Address: address(host, b.sid), Secret: []byte(string(address(host, b.rid))), Max: f.max}, nil
}

func address(host, id string) parley.Address {
	return parley.Address(FaultyScheme + "://" + host + "/" + id)
}

// keyMark begins every sender's key.
var keyMark = []byte("key ")

// Join implements [parley.Carrier]. It works without the relay.
func (f *Faulty) Join(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	if err := f.fault("join", at); err != nil {
		return parley.Endpoint{}, err
	}
	if _, _, err := splitFaulty(at); err != nil {
		return parley.Endpoint{}, err
	}
	return parley.Endpoint{Address: at, Secret: append(bytes.Clone(keyMark), token()...), Max: f.max}, nil
}

// Send implements [parley.Carrier].
func (f *Faulty) Send(ctx context.Context, to parley.Endpoint, packet []byte) (parley.Reach, error) {
	return parley.AtRelay, f.send(ctx, "send", to, packet, nil)
}

// Confirm implements [parley.Binder].
func (f *Faulty) Confirm(ctx context.Context, to parley.Endpoint, packet []byte) error {
	return f.send(ctx, "confirm", to, packet, to.Secret)
}

func (f *Faulty) send(ctx context.Context, op string, to parley.Endpoint, packet, bind []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.fault(op, to.Address); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r, b, err := f.find(to.Address)
	if err != nil {
		return err
	}
	switch c := f.faults; {
	case len(packet) > f.max:
		return fmt.Errorf("packet of %d bytes: %w", len(packet), parley.ErrRefused)
	case bind != nil && b.key != "", bind == nil && b.key != string(to.Secret):
		return fmt.Errorf("mailbox: %w", parley.ErrDenied)
	case f.rnd.Float64() < c.Deny:
		return fmt.Errorf("for a while: %w", parley.ErrDenied)
	case f.rnd.Float64() < c.Full:
		return fmt.Errorf("for a while: %w", parley.ErrFull)
	case f.rnd.Float64() < c.Lose:
		return fmt.Errorf("the line broke: %w", parley.ErrOffline)
	}
	r.sent++
	f.put(b, packet, bind)
	if f.rnd.Float64() < f.faults.LoseAnswer {
		return fmt.Errorf("the line broke: %w", parley.ErrOffline)
	}
	return nil
}

func (f *Faulty) put(b *mailbox, packet, bind []byte) {
	b.next++
	b.queue = append(b.queue, parcel{b.next, append([]byte(nil), packet...), append([]byte(nil), bind...)})
	f.signal()
}

// Secure implements [parley.Binder].
func (f *Faulty) Secure(ctx context.Context, at parley.Endpoint, bind []byte) error {
	if err := f.fault("secure", at.Address); err != nil {
		return err
	}
	if !bytes.HasPrefix(bind, keyMark) {
		return fmt.Errorf("not a sender's key: %w", parley.ErrRefused)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, b, err := f.find(parley.Address(at.Secret))
	if err != nil {
		return err
	}
	if b.key != "" && b.key != string(bind) {
		return fmt.Errorf("secured for another sender: %w", parley.ErrDenied)
	}
	b.key = string(bind)
	return nil
}

// Delete removes a mailbox. A mailbox that is gone is ErrDenied.
func (f *Faulty) Delete(ctx context.Context, at parley.Endpoint) error {
	if err := f.fault("delete", at.Address); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r, b, err := f.find(parley.Address(at.Secret))
	if err != nil {
		return err
	}
	delete(r.in, b.rid)
	f.signal()
	return nil
}

// Receive implements [parley.Carrier]. A later Receive of the same mailbox takes
// it over.
func (f *Faulty) Receive(ctx context.Context, at []parley.Endpoint, keep func(int, parley.Delivery) error) error {
	me := new(int)
	f.mu.Lock()
	for _, e := range at {
		_, b, err := f.find(parley.Address(e.Secret))
		if errors.Is(err, parley.ErrRefused) {
			f.mu.Unlock()
			return err
		}
		if err == nil {
			b.owner = me
		}
	}
	f.mu.Unlock()
	for {
		i, p, wait := f.take(me, at)
		if i < 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-wait:
				continue
			}
		}
		if err := f.deliver(ctx, at[i], i, p, keep); err != nil {
			return err
		}
	}
}

// take picks the head of a random mailbox that has one and whose relay is up.
func (f *Faulty) take(me *int, at []parley.Endpoint) (int, parcel, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.rnd.Perm(len(at)) {
		_, b, err := f.find(parley.Address(at[i].Secret))
		if err != nil {
			continue
		}
		if b.owner == nil {
			b.owner = me
		}
		if b.owner == me && len(b.queue) > 0 {
			return i, b.queue[0], nil
		}
	}
	return -1, parcel{}, f.wake
}

func (f *Faulty) deliver(ctx context.Context, at parley.Endpoint, i int, p parcel, keep func(int, parley.Delivery) error) error {
	f.mu.Lock()
	r, _, err := f.find(parley.Address(at.Secret))
	delay := time.Duration(f.rnd.Float64() * float64(f.faults.Delay))
	again := f.rnd.Float64() < f.faults.Duplicate
	f.mu.Unlock()
	if err != nil {
		return nil
	}
	if err := pauseFor(ctx, delay); err != nil {
		return err
	}
	if err := f.fault("deliver", at.Address); err != nil {
		return err
	}
	epoch := f.epoch(r)
	d := parley.Delivery{Packet: p.packet, Bind: p.bind, Mark: binary.BigEndian.AppendUint64(nil, p.seq)}
	if err := keep(i, d); err != nil {
		return pauseFor(ctx, 10*time.Millisecond) // it comes again
	}
	if err := f.fault("acked", at.Address); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, b, err := f.find(parley.Address(at.Secret))
	if err == nil && !again && r.epoch == epoch && len(b.queue) > 0 && b.queue[0].seq == p.seq {
		b.queue = b.queue[1:]
	}
	return nil
}

func pauseFor(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (f *Faulty) epoch(r *faultyRelay) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return r.epoch
}

var _ parley.Binder = (*Faulty)(nil)
