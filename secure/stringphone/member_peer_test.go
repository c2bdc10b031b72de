package stringphone

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"parley/parleytest"
)

// then is the time of all tests.
var then = parleytest.Then

// A peer is a member with its memory, and what it has posted.
type peer struct {
	t    testing.TB
	name string
	b    *parleytest.Bucket
	m    *Member
	out  [][]byte
	now  time.Time
}

func newPeer(t testing.TB, name string, s Setup) *peer {
	t.Helper()
	if s.Seed == nil {
		s.Seed = bytes.Repeat([]byte(name[:1]), SeedSize)
	}
	if s.Name == "" {
		s.Name = "home/kitchen"
	}
	p := &peer{t: t, name: name, b: parleytest.NewBucket(), now: then}
	if _, err := Create(p.b, s); err != nil {
		t.Fatal(err)
	}
	p.load()
	return p
}

func (p *peer) load() {
	p.t.Helper()
	m, err := Load(p.b, func(b []byte) { p.out = append(p.out, b) })
	if err != nil {
		p.t.Fatal(err)
	}
	p.m = m
}

// posted takes what p has posted since.
func (p *peer) posted() [][]byte {
	out := p.out
	p.out = nil
	return out
}

func (p *peer) seal(id byte, body string) []byte {
	p.t.Helper()
	return p.sealID([16]byte{id, 1, 2}, body)
}

func (p *peer) sealID(id [16]byte, body string) []byte {
	p.t.Helper()
	b, err := p.m.Seal(p.now, id, []byte(body))
	if err != nil {
		p.t.Fatalf("%s seals: %v", p.name, err)
	}
	return b
}

// open opens; a failing Open must have left no trace.
func (p *peer) open(packet []byte) (*Opened, error) {
	p.t.Helper()
	before, posts := p.b.Clone(), len(p.out)
	o, err := p.m.Open(p.now, packet, OpenOptions{})
	if err != nil && (o != nil || !p.b.Equal(before) || len(p.out) != posts) {
		p.t.Fatalf("%s: a failing Open (%v) left a trace", p.name, err)
	}
	return o, err
}

func (p *peer) mustOpen(packet []byte, body string) *Opened {
	p.t.Helper()
	o, err := p.open(packet)
	if err != nil {
		p.t.Fatalf("%s opens: %v", p.name, err)
	}
	if o == nil || string(o.Body) != body {
		p.t.Fatalf("%s opened %v, want %q", p.name, o, body)
	}
	return o
}

func (p *peer) refuse(packet []byte, want error) {
	p.t.Helper()
	if o, err := p.open(packet); !errors.Is(err, want) {
		p.t.Fatalf("%s: got %v, %v; want %v", p.name, o, err, want)
	}
}

// quiet opens what has nothing to show.
func (p *peer) quiet(packets ...[]byte) {
	p.t.Helper()
	for _, packet := range packets {
		if o, err := p.open(packet); err != nil || o != nil {
			p.t.Fatalf("%s: %v, %v; want nothing to show", p.name, o, err)
		}
	}
}

// spread passes on what peers have posted until nobody posts any more.
func spread(peers ...*peer) {
	for again := true; again; {
		again = false
		for _, p := range peers {
			for _, packet := range p.posted() {
				again = true
				for _, q := range peers {
					if q == p {
						continue
					}
					if _, err := q.open(packet); err != nil && !(q.m.self.setup.NoVouch && errors.Is(err, ErrUntrustedKey)) {
						q.t.Fatalf("%s: %v", q.name, err)
					}
				}
			}
		}
	}
}

// join lets q in by p, as all others hear it.
func join(p, q *peer, others ...*peer) {
	p.t.Helper()
	intro, err := q.m.Introduce(q.now)
	if err != nil {
		p.t.Fatal(err)
	}
	var asks *IntroError
	if _, err := p.open(intro); !errors.As(err, &asks) || !bytes.Equal(asks.Key, q.m.PublicKey()) {
		p.t.Fatalf("an introduction: %v", err)
	}
	reply, err := p.m.Admit(p.now, asks.Message)
	if err != nil {
		p.t.Fatalf("%s admits %s: %v", p.name, q.name, err)
	}
	var answers *ReplyError
	if _, err := q.open(reply); !errors.As(err, &answers) || !answers.Signed || !bytes.Equal(answers.Key, p.m.PublicKey()) {
		p.t.Fatalf("a reply: %v", err)
	}
	// The rotation that lets q in is for the others.
	for _, packet := range p.posted() {
		for _, o := range others {
			o.quiet(packet)
		}
		if p.m.Mode() == Headed {
			defer q.open(packet) // a rotation it cannot open, if the key had been removed
		}
	}
	if err := q.m.Accept(q.now, answers.Message); err != nil {
		p.t.Fatalf("%s accepts %s: %v", q.name, p.name, err)
	}
	spread(append([]*peer{p, q}, others...)...)
}

// three makes a topic that a founded, and let b and c in.
func three(t testing.TB, mode Mode) (a, b, c *peer) {
	t.Helper()
	a = newPeer(t, "alice", Setup{Mode: mode, Found: true})
	b = newPeer(t, "bob", Setup{})
	c = newPeer(t, "carol", Setup{})
	join(a, b)
	join(a, c, b)
	if mode == Plain { // nobody tells them of each other
		must(t, b.m.Trust(c.m.PublicKey()))
		must(t, c.m.Trust(b.m.PublicKey()))
	}
	return a, b, c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
