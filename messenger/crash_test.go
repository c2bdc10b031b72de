package messenger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/parleytest"
)

// A chaos is one run of the property test: two people and a third, a lossy
// network, crashes at any commit.
type chaos struct {
	*world
	r       *rand.Rand
	a, b, c *person
	sent    map[*person][]written // to the other of a and b
}

type written struct {
	text, id string
	sure     bool // Send returned nil
	canceled bool // Cancel was tried: it may come, out of its place, or not
}

// TestExactlyOnceInOrder: whatever the network loses, repeats, denies or delays,
// wherever either side crashes, each message is in the peer's timeline exactly
// once and in order, unless it was cancelled; and nobody waits for another.
func TestExactlyOnceInOrder(t *testing.T) {
	seeds := testSeeds(10)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, uint64(seed), func(w *world) { runChaos(w, uint64(seed)) })
		})
	}
}

func runChaos(w *world, seed uint64) {
	x := &chaos{world: w, r: rand.New(rand.NewPCG(seed, 99)), sent: map[*person][]written{}}
	relays := []string{"one", "two"}[:1+seed%2]
	x.a, x.b, x.c = w.person("alice", relays...), w.person("bob", relays...), w.person("carol", "three")
	w.connect(x.a, x.b)
	w.connect(x.a, x.c)
	for range 60 {
		x.step()
		x.revive(false)
	}
	w.net.Set(parleytest.Faults{})
	for _, r := range relays {
		w.net.Down(r, false)
	}
	x.revive(true)
	// Nobody waits for another: carol's relay was never down.
	id := x.a.send("carol", "are you there?").ID
	x.a.wait(id, AtDevice)
	x.settle()
	x.check(x.a, x.b)
	x.check(x.b, x.a)
}

func (x *chaos) step() {
	p, q := x.a, x.b
	if x.r.IntN(2) == 0 {
		p, q = q, p
	}
	switch x.r.IntN(12) {
	case 0, 1, 2, 3:
		text := fmt.Sprintf("%s %d", p.name, len(x.sent[p]))
		if x.r.IntN(8) == 0 {
			text += strings.Repeat(" and more", 1500) // in pieces
		}
		m, err := p.m.Send(context.Background(), q.name, text)
		x.sent[p] = append(x.sent[p], written{text: text, id: m.ID, sure: err == nil})
		if err != nil && !p.dead() {
			x.t.Fatal(err)
		}
	case 4, 5:
		n := 1 + x.r.IntN(25)
		p.m.mu.Lock()
		p.m.o.fault = func(step string) error {
			if n--; n <= 0 {
				return errCrash
			}
			return nil
		}
		p.m.mu.Unlock()
	case 6:
		p.crash()
	case 7:
		x.net.Set(parleytest.Faults{
			Lose: x.r.Float64() * .4, LoseAnswer: x.r.Float64() * .4, Duplicate: x.r.Float64() * .4,
			Deny: x.r.Float64() * .3, Full: x.r.Float64() * .3, Delay: time.Duration(x.r.IntN(3000)) * time.Millisecond,
		})
	case 8:
		x.net.Down([]string{"one", "two"}[x.r.IntN(2)], x.r.IntN(2) == 0)
	case 9:
		x.net.Restart([]string{"one", "two"}[x.r.IntN(2)])
	case 10:
		if sent := x.sent[p]; len(sent) > 0 {
			s := &sent[x.r.IntN(len(sent))]
			if !s.sure {
				return
			}
			if x.r.IntN(3) == 0 {
				_, err := p.m.Cancel(context.Background(), s.id)
				s.canceled = s.canceled || err == nil || p.dead()
			} else if m, err := p.m.Message(context.Background(), s.id); err == nil && m.State != Canceled {
				p.m.Resend(context.Background(), s.id)
			}
		}
	case 11:
		<-time.After(time.Duration(x.r.IntN(90_000)) * time.Millisecond)
	}
	<-time.After(time.Duration(x.r.IntN(300)) * time.Millisecond)
}

// revive restarts whoever has crashed, or everybody.
func (x *chaos) revive(all bool) {
	for _, p := range []*person{x.a, x.b, x.c} {
		switch {
		case p.m == nil:
			p.start()
		case p.dead():
			p.crash()
			p.start()
		case all:
			p.stop()
			p.start()
		}
	}
}

// settle waits until everything that can arrive has.
func (x *chaos) settle() {
	for _, p := range []*person{x.a, x.b} {
		x.until(p.name+"'s messages arrive", func() bool {
			var n int
			err := p.p.DB().QueryRow("SELECT count(*) FROM timeline WHERE author = 0 AND state IN ('queued', 'relay')").Scan(&n)
			if err != nil {
				x.t.Fatal(err)
			}
			return n == 0
		})
	}
}

func (x *chaos) check(from, to *person) {
	all := to.texts(from.name)
	for i, s := range all {
		if slices.Contains(all[:i], s) {
			x.t.Fatalf("%.20q came twice", s)
		}
	}
	var sent []written
	got := all
	for _, s := range x.sent[from] {
		if s.canceled {
			got = slices.DeleteFunc(slices.Clone(got), func(t string) bool { return t == s.text })
			continue
		}
		sent = append(sent, s)
	}
	state := map[string]State{}
	h, err := from.m.History(context.Background(), to.name, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, m := range h {
		if m.Direction == "out" {
			state[m.Text] = m.State
		}
	}
	at := 0
	for _, s := range sent {
		st, known := state[s.text]
		if s.sure && !known {
			x.t.Fatalf("%q was sent and is gone", s.text)
		}
		if at < len(got) && got[at] == s.text {
			at++
			continue
		}
		if known {
			x.t.Fatalf("%s: %.20q is %s and not in its place; got %d: %.20q", to.name, s.text, st, at, got[at:])
		}
	}
	if at != len(got) {
		x.t.Fatalf("%s has more than was sent: %.20q", to.name, got[at:])
	}
}
