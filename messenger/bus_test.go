package messenger

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"parley"
	"parley/parleytest"
	"parley/secure/stringphone"
)

// A bus is a broker in memory, and the carrier that reaches it: bus://HOST/TOPIC.
// Each claim is a persistent session that gets all that is sent to its topic, in
// one order and again until it is acknowledged. What it does wrong is seeded.
type bus struct {
	mu       sync.Mutex
	rnd      *rand.Rand
	faults   parleytest.Faults
	down     bool
	epoch    int
	sessions map[string]*busSession
	log      [][]byte // all that was sent
	wake     chan struct{}
}

type busSession struct {
	topic string
	queue []busPacket
	next  int
	owner *int
}

type busPacket struct {
	n      int
	packet []byte
}

func newBus(seed uint64) *bus {
	return &bus{rnd: rand.New(rand.NewPCG(seed, 11)), sessions: map[string]*busSession{}, wake: make(chan struct{})}
}

func (b *bus) change(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
	close(b.wake)
	b.wake = make(chan struct{})
}

func (b *bus) set(f parleytest.Faults) { b.change(func() { b.faults = f }) }

// misbehave draws faults.
func (b *bus) misbehave(r *rand.Rand) {
	b.set(parleytest.Faults{
		Lose: r.Float64() * .4, LoseAnswer: r.Float64() * .4, Duplicate: r.Float64() * .4, Full: r.Float64() * .3,
		Delay: time.Duration(r.IntN(2000)) * time.Millisecond,
	})
}

// crashAfter lets the person's process die at the commit after so many.
func (p *person) crashAfter(n int) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.o.fault = func(string) error {
		if n--; n <= 0 {
			return errCrash
		}
		return nil
	}
}

func (b *bus) setDown(down bool) { b.change(func() { b.down = down; b.epoch++ }) }
func (b *bus) restart()          { b.change(func() { b.epoch++ }) }

// inject sends a packet as a stranger.
func (b *bus) inject(topic string, packets ...[]byte) {
	b.change(func() {
		for _, p := range packets {
			b.put(topic, p)
		}
	})
}

func (b *bus) put(topic string, packet []byte) {
	b.log = append(b.log, slices.Clone(packet))
	for _, s := range b.sessions {
		if s.topic == topic {
			s.next++
			s.queue = append(s.queue, busPacket{s.next, slices.Clone(packet)})
		}
	}
}

// busTopic checks the login at a host that wants one and returns the clean address.
func busTopic(at parley.Address) (topic string, err error) {
	u, err := url.Parse(string(at))
	if err != nil || u.Scheme != "bus" || u.Path == "" {
		return "", fmt.Errorf("not a topic: %w", parley.ErrRefused)
	}
	if p, _ := u.User.Password(); u.Host == "locked" && (u.User.Username() != "user" || p != "q0z9s3cr3t") {
		return "", fmt.Errorf("wrong user or password: %w", parley.ErrDenied)
	}
	return u.Host + u.Path, nil
}

func (b *bus) Claim(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return parley.Endpoint{}, parley.ErrOffline
	}
	topic, err := busTopic(at)
	if err != nil {
		return parley.Endpoint{}, err
	}
	id := fmt.Sprintf("session %d", len(b.sessions))
	b.sessions[id] = &busSession{topic: topic}
	return parley.Endpoint{Address: parley.Address("bus://" + topic), Secret: []byte(id), Max: 300_000}, nil
}

func (b *bus) Join(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	topic, err := busTopic(at)
	if errors.Is(err, parley.ErrDenied) { // only the broker knows
		u, _ := url.Parse(string(at))
		topic, err = u.Host+u.Path, nil
	}
	return parley.Endpoint{Address: parley.Address("bus://" + topic), Secret: []byte(at), Max: 300_000}, err
}

func (b *bus) Send(ctx context.Context, to parley.Endpoint, packet []byte) (parley.Reach, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	topic, err := busTopic(parley.Address(to.Secret))
	switch f := b.faults; {
	case err != nil:
		return 0, err
	case b.down, b.rnd.Float64() < f.Lose:
		return 0, parley.ErrOffline
	case b.rnd.Float64() < f.Full:
		return 0, parley.ErrFull
	}
	b.put(topic, packet)
	close(b.wake)
	b.wake = make(chan struct{})
	if b.rnd.Float64() < b.faults.LoseAnswer {
		return 0, parley.ErrOffline
	}
	return parley.AtRelay, nil
}

func (b *bus) Delete(ctx context.Context, at parley.Endpoint) error {
	b.change(func() { delete(b.sessions, string(at.Secret)) })
	return nil
}

func (b *bus) Receive(ctx context.Context, at []parley.Endpoint, keep func(int, parley.Delivery) error) error {
	me := new(int)
	b.mu.Lock()
	s := b.sessions[string(at[0].Secret)]
	if s == nil {
		b.mu.Unlock()
		return fmt.Errorf("no such session: %w", parley.ErrRefused)
	}
	s.owner = me
	b.mu.Unlock()
	for {
		b.mu.Lock()
		wake, epoch, ready := b.wake, b.epoch, !b.down && s.owner == me && len(s.queue) > 0
		var p busPacket
		again, delay := false, time.Duration(0)
		if ready {
			p = s.queue[0]
			again, delay = b.rnd.Float64() < b.faults.Duplicate, time.Duration(b.rnd.Float64()*float64(b.faults.Delay))
		}
		b.mu.Unlock()
		if !ready {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-wake:
			}
			continue
		}
		if delay > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(delay):
			}
		}
		if err := keep(0, parley.Delivery{Packet: p.packet}); err != nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
			continue
		}
		b.mu.Lock()
		if !again && b.epoch == epoch && len(s.queue) > 0 && s.queue[0].n == p.n {
			s.queue = s.queue[1:]
		}
		b.mu.Unlock()
	}
}

// phones implements [Groups] as builtin does.
type phones struct{}

func (phones) Group(c *parley.Conversation) (g Group, err error) {
	m, err := stringphone.Load(c.State, c.Post)
	if err != nil {
		return g, err
	}
	g = Group{Ready: m.HasKey(), Asks: m.NeedsKey(), Removed: m.Removed(), Mode: m.Mode().String(), Promises: stringphone.GuaranteesOf(m.Mode()), Lacks: []string{"much"}}
	for _, p := range m.Members() {
		o := phone(p.Key)
		o.Trusted, o.Since = p.Trusted, p.Since
		if p.By != (stringphone.ID{}) && p.By != m.ID() {
			o.By = stringphone.NameOf(p.By)
		}
		if p.Self {
			g.Self = o
			continue
		}
		g.Members = append(g.Members, o)
	}
	return g, nil
}

func phone(key []byte) Member {
	n := stringphone.Fingerprint(key)
	return Member{ID: stringphone.NameOf(stringphone.IDOf(key)), Key: key, Number: n[:]}
}

func (phones) Asker(packet []byte) (Member, error) {
	key, err := stringphone.VerifyIntro(packet)
	return phone(key), err
}

func (phones) Distrust(c *parley.Conversation, id parley.Name) error {
	m, err := stringphone.Load(c.State, c.Post)
	if err != nil {
		return err
	}
	b, err := hex.DecodeString(string(id))
	if err != nil {
		return err
	}
	return m.Distrust(stringphone.ID(b))
}

func (phones) Change(key []byte) parley.Name { return parley.Name(hex.EncodeToString(key)) }

func (phones) Refusal(err error) string {
	for _, e := range []error{stringphone.ErrUnsignedReply, stringphone.ErrNotPinned, stringphone.ErrMode} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return ""
}
