package live

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/internal/bucketfile"
	"parley/secure/stringphone"
)

// A bus is a topic in memory: each subscriber hears everything, also its own, in
// one order, and what it refused comes again. What is published while a subscriber
// is away waits for it, as with a persistent session.
type bus struct {
	mu       sync.Mutex
	ears     map[string]*ear
	retained []byte
	down     bool
	log      [][]byte
}

type ear struct {
	queue []delivery
	wake  chan struct{}
}

type delivery struct {
	payload  []byte
	retained bool
}

func newBus() *bus { return &bus{ears: map[string]*ear{}} }

var errDown = errors.New("the broker is away")

func (b *bus) say(payload []byte, retain bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return errDown
	}
	b.log = append(b.log, payload)
	if retain {
		b.retained = payload
	}
	for _, e := range b.ears {
		e.queue = append(e.queue, delivery{payload: payload})
		poke(e.wake)
	}
	return nil
}

func (b *bus) setDown(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

// forget ends a subscriber's session: what it misses is gone.
func (b *bus) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ears, name)
}

// port is one subscriber's channel.
type port struct {
	b    *bus
	name string
	slow time.Duration // before what was kept comes

	publish time.Duration // that publishing takes
}

func (p port) Publish(ctx context.Context, payload []byte, retain bool) error {
	err := p.b.say(slices.Clone(payload), retain)
	select {
	case <-time.After(p.publish):
	case <-ctx.Done():
		return ctx.Err()
	}
	return err
}

func (p port) Receive(ctx context.Context, take func([]byte, bool) error) error {
	p.b.mu.Lock()
	e := p.b.ears[p.name]
	if e == nil {
		e = &ear{wake: make(chan struct{}, 1)}
		p.b.ears[p.name] = e
		if p.b.retained != nil {
			e.queue = append(e.queue, delivery{p.b.retained, true})
		}
	}
	p.b.mu.Unlock()
	select {
	case <-time.After(p.slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	poke(e.wake)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.wake:
		}
		for ctx.Err() == nil {
			p.b.mu.Lock()
			if len(e.queue) == 0 || p.b.down {
				p.b.mu.Unlock()
				break
			}
			d := e.queue[0]
			p.b.mu.Unlock()
			if err := take(d.payload, d.retained); err != nil {
				return err
			}
			p.b.mu.Lock()
			if len(e.queue) > 0 {
				e.queue = e.queue[1:]
			}
			p.b.mu.Unlock()
		}
	}
}

// party is a participant under test. Its state outlives its sessions.
type party struct {
	t     *testing.T
	b     *bus
	name  string
	state *bucketfile.File
	s     *Session
	o     Options
	stop  func() error

	mu     sync.Mutex
	shown  []string
	notes  []NoteKind
	joined int
}

func newParty(t *testing.T, b *bus, name string, setup stringphone.Setup) *party {
	t.Helper()
	f, err := bucketfile.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	setup.Name = "home"
	if err := Setup(f, setup); err != nil {
		t.Fatal(err)
	}
	p := &party{t: t, b: b, name: name, state: f}
	p.o = Options{
		State: f, Channel: port{b: b, name: name},
		Show: func(m Message) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			text := string(m.Body)
			if m.Retained {
				text += " (stored)"
			}
			p.shown = append(p.shown, text)
			return nil
		},
		Note: func(n Note) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.notes = append(p.notes, n.Kind)
		},
		Joined: func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.joined++
		},
	}
	return p
}

func always(v Verdict) (func(context.Context, Request) Verdict, func(context.Context, Answer) Verdict) {
	return func(context.Context, Request) Verdict { return v }, func(context.Context, Answer) Verdict { return v }
}

// open lets everybody in and believes everybody.
func (p *party) open() *party {
	p.o.Admit, p.o.Trust = always(Yes)
	return p
}

func (p *party) start() *party {
	p.t.Helper()
	s, err := New(p.o)
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	p.s = s
	p.stop = func() error {
		cancel()
		err := <-done
		p.stop = func() error { return nil }
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return err
	}
	p.t.Cleanup(func() { p.stop() })
	return p
}

func (p *party) say(text string) {
	p.t.Helper()
	if err := p.s.Say([]byte(text), false); err != nil {
		p.t.Fatalf("%s says %q: %v", p.name, text, err)
	}
	synctest.Wait()
}

// heard returns what was shown since the last call.
func (p *party) heard() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.shown
	p.shown = nil
	return got
}

func (p *party) want(texts ...string) {
	p.t.Helper()
	if got := p.heard(); !slices.Equal(got, texts) {
		p.t.Fatalf("%s heard %q, want %q", p.name, got, texts)
	}
}

func (p *party) saw(kind NoteKind) bool {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.notes, kind)
}

func (p *party) status() Status {
	p.t.Helper()
	st, err := p.s.Status()
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d) // fake time
	synctest.Wait()
}

// again starts a party anew, after a change of its options.
func (p *party) again(change func(*Options)) {
	p.t.Helper()
	if p.stop != nil {
		p.stop()
	}
	if change != nil {
		change(&p.o)
	}
	p.start()
}

// threeOf returns members of one topic; nobody asks a person from now on, and only
// members are answered.
func threeOf(t *testing.T, b *bus, mode stringphone.Mode) (alice, bob, mallory *party) {
	alice = newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
	bob = newParty(t, b, "bob", stringphone.Setup{}).open().start()
	mallory = newParty(t, b, "mallory", stringphone.Setup{}).open().start()
	pass(time.Minute)
	for _, p := range []*party{alice, bob, mallory} {
		p.again(func(o *Options) { o.Admit = nil })
		if !p.status().Joined {
			t.Fatal(p.name, "has not joined")
		}
	}
	return alice, bob, mallory
}

func eachRotating(t *testing.T, do func(t *testing.T, mode stringphone.Mode)) {
	for _, mode := range modes[1:] {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { do(t, mode) })
		})
	}
}
