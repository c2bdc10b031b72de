package stringphone

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestComings: members remove each other, let each other in again, rotate and talk, in
// any order, over a channel that loses nothing. All who are in read each other at every
// step, and nobody else reads them.
func TestComings(t *testing.T) {
	for _, mode := range headed {
		seeds := uint64(30)
		if testing.Short() {
			seeds = 5
		}
		for seed := range seeds {
			t.Run(fmt.Sprintf("%v/%d", mode, seed), func(t *testing.T) { comings(t, mode, seed) })
		}
	}
}

func comings(t *testing.T, mode Mode, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 9))
	var all []*peer
	in := map[*peer]bool{}
	for i := range 5 {
		p := newPeer(t, fmt.Sprint(i), Setup{Mode: mode, Found: i == 0})
		if all = append(all, p); i > 0 {
			join(all[0], p, all[1:i]...)
		}
		in[p] = true
	}
	staying := func() (ps []*peer) {
		for _, p := range all {
			if in[p] {
				ps = append(ps, p)
			}
		}
		return ps
	}
	deliver := func() {
		spreadTo(all, in)
	}
	for step := range 60 {
		for _, p := range all {
			p.now = p.now.Add(11 * time.Minute)
		}
		ps := staying()
		a := ps[r.IntN(len(ps))]
		switch q := all[r.IntN(len(all))]; {
		case q == a:
			must(t, a.m.Rotate(a.now))
		case in[q] && len(ps) > 2 && r.IntN(2) == 0:
			must(t, a.m.Remove(a.now, id(q)))
			in[q] = false
		case !in[q]:
			intro, err := q.m.Introduce(q.now)
			must(t, err)
			reply, err := a.m.Admit(a.now, intro)
			must(t, err)
			for _, packet := range a.posted() { // before the reply, as it was posted
				for _, p := range all {
					if _, err := p.open(packet); err != nil && in[p] {
						t.Fatal(err)
					}
				}
			}
			must(t, q.m.AcceptFrom(q.now, reply, a.m.PublicKey())) // whom it may not know
			in[q] = true
		}
		deliver()
		ps = staying()
		a = ps[r.IntN(len(ps))]
		text := fmt.Sprint("step ", step)
		packet := a.seal(byte(step), text)
		deliver()
		for _, q := range all {
			o, err := q.open(packet)
			switch {
			case q == a:
			case in[q] && (err != nil || o == nil || string(o.Body) != text):
				t.Fatalf("step %d: %s, who is in, does not read %s: %v", step, q.name, a.name, err)
			case !in[q] && o != nil:
				t.Fatalf("step %d: %s, who is out, reads %s", step, q.name, a.name)
			}
		}
		deliver()
	}
}

// TestReturnsAreBounded: whom a rotation adds and does not seal to is no member, and
// nothing is kept of it; a key that it names a thousand times is tried twice.
func TestReturnsAreBounded(t *testing.T) {
	a, b, c := three(t, Headed)
	r := &rotation{epoch: 1, mode: Headed}
	for range 50 {
		stranger := newPeer(t, "stranger", Setup{Seed: GenerateSeed()})
		r.added = append(r.added, joiner{key: stranger.m.PublicKey()})
		r.sealed = append(r.sealed, sealedKey{key: a.m.PublicKey()})
	}
	before := a.b.Clone()
	must(t, a.m.do(then, func(d *draft) error {
		from, err := d.participant(id(b))
		must(t, err)
		return d.takePeople(from, &header{}, r)
	}))
	kept := 0
	for range a.b.Scan(backRow) {
		kept++
	}
	for range before.Scan(backRow) {
		kept--
	}
	if kept != 0 || len(a.m.Members()) != 3 {
		t.Errorf("%d notes about strangers, %d members", kept, len(a.m.Members()))
	}
	if n := len(r.keysOf(a.m.PublicKey())); n != 2 {
		t.Errorf("%d keys are tried", n)
	}
	// Who comes back is noted, once.
	must(t, a.m.Remove(then, id(c)))
	spreadTo([]*peer{a, b, c}, map[*peer]bool{a: true, b: true})
	intro, err := c.m.Introduce(then)
	must(t, err)
	_, err = a.m.Admit(a.now.Add(time.Hour), intro)
	must(t, err)
	if a.b.Get(row(backRow, id(c))) == nil {
		t.Error("a return is not noted")
	}
}

// spreadTo passes on what members have posted, to everybody, until nobody posts any
// more; those who are out may refuse. Who has just come in is past the rotation that
// let it in.
func spreadTo(all []*peer, in map[*peer]bool) {
	for again := true; again; {
		again = false
		for _, p := range all {
			for _, packet := range p.posted() {
				again = true
				for _, q := range all {
					if q == p {
						continue
					}
					if _, err := q.open(packet); err != nil && !errors.Is(err, ErrErased) && in[q] && in[p] {
						q.t.Fatalf("%s does not take what %s posts: %v", q.name, p.name, err)
					}
				}
			}
		}
	}
}
