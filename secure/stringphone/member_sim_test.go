package stringphone

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// A world is members on a channel that loses or reorders, and what they did there.
type world struct {
	t       *testing.T
	r       *rand.Rand
	mode    Mode
	loss    bool // lose a tenth; otherwise deliver in any order
	peers   []*peer
	queue   map[*peer][][]byte
	later   map[*peer][][]byte // what needs a key that may still come
	gone    map[*peer]bool     // somebody removed them
	sealed  int
	shown   int
	secrets map[string][]*peer // packets sealed after all who remain had taken in the removal of these
}

func newWorld(t *testing.T, mode Mode, seed uint64, loss bool) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, uint64(mode))), mode: mode, loss: loss,
		queue: map[*peer][][]byte{}, later: map[*peer][][]byte{}, gone: map[*peer]bool{}, secrets: map[string][]*peer{}}
	first := newPeer(t, "0", Setup{Mode: mode, Found: true})
	w.peers = []*peer{first}
	for i := range 4 {
		w.grow(first, fmt.Sprint(i+1))
		w.drain()
	}
	return w
}

// grow lets somebody new in by p.
func (w *world) grow(p *peer, name string) {
	q := newPeer(w.t, name, Setup{Mode: w.mode})
	q.now = p.now
	if w.let(p, q) {
		w.peers = append(w.peers, q)
	}
	w.flush()
}

// let has p answer q's introduction.
func (w *world) let(p, q *peer) bool {
	intro, err := q.m.Introduce(q.now)
	must(w.t, err)
	reply, err := p.m.Admit(p.now, intro)
	if err != nil {
		return false
	}
	w.flush()
	err = q.m.Accept(q.now, reply)
	return err == nil
}

// flush puts what was posted on the channel.
func (w *world) flush() {
	for _, p := range w.peers {
		for _, packet := range p.posted() {
			w.publish(p, packet)
		}
	}
}

func (w *world) publish(from *peer, packet []byte) {
	for _, q := range w.peers {
		if q != from && (!w.loss || w.r.IntN(10) > 0) {
			w.queue[q] = append(w.queue[q], packet)
		}
	}
}

// step delivers one packet to a member.
func (w *world) step(q *peer) {
	if len(w.queue[q]) == 0 {
		return
	}
	at := 0
	if !w.loss {
		at = w.r.IntN(min(len(w.queue[q]), 12))
	}
	packet := w.queue[q][at]
	w.queue[q] = slices.Delete(w.queue[q], at, at+1)
	w.deliver(q, packet)
}

func (w *world) deliver(q *peer, packet []byte) {
	o, err := q.m.Open(q.now, packet, OpenOptions{})
	switch {
	case err == nil:
		if o != nil {
			w.shown++
			if slices.Contains(w.secrets[string(packet)], q) {
				w.t.Fatalf("%s, who was removed, opens what it must not", q.name)
			}
		}
		waiting := w.later[q]
		w.later[q] = nil
		if o == nil {
			w.queue[q] = append(w.queue[q], waiting...)
		} else {
			w.later[q] = waiting
		}
	case errors.Is(err, ErrEpoch), errors.Is(err, ErrMissingTopicKey), errors.Is(err, ErrUntrustedKey):
		if len(w.later[q]) < 300 {
			w.later[q] = append(w.later[q], packet)
		}
	case errors.Is(err, ErrReplay), errors.Is(err, ErrSkip):
	default:
		w.t.Fatalf("%s: %v", q.name, err)
	}
	w.flush()
}

// drain delivers all there is.
func (w *world) drain() {
	for again := true; again; {
		again = false
		for _, q := range w.peers {
			for len(w.queue[q]) > 0 {
				again = true
				w.step(q)
			}
		}
	}
}

// act is one thing that happens.
func (w *world) act() {
	p := w.peers[w.r.IntN(len(w.peers))]
	p.now = p.now.Add(time.Duration(w.r.IntN(500)) * time.Millisecond)
	switch n := w.r.IntN(100); {
	case n < 50:
		w.speak(p)
	case n < 58:
		_ = p.m.Rotate(p.now)
	case n < 61 && len(w.peers) < 8 && !w.gone[p] && !p.m.NeedsKey():
		w.grow(p, fmt.Sprint(len(w.peers)))
	case n < 64: // the first two remove, never each other
		p = w.peers[w.r.IntN(2)]
		victim := w.peers[2+w.r.IntN(len(w.peers)-2)]
		if len(w.gone) < 3 && p.m.Remove(p.now, victim.m.ID()) == nil {
			w.gone[victim] = true
		}
	}
	w.flush()
	for range 6 {
		w.step(w.peers[w.r.IntN(len(w.peers))])
	}
}

func (w *world) speak(p *peer) {
	var id [16]byte
	w.sealed++
	id[0], id[1], id[2] = byte(w.sealed), byte(w.sealed>>8), 1
	packet, err := p.m.Seal(p.now, id, []byte("text"))
	w.flush()
	if err == nil {
		for v := range w.gone {
			if !w.gone[p] && w.forgotten(v) {
				w.secrets[string(packet)] = append(w.secrets[string(packet)], v)
				w.queue[v] = append(w.queue[v], packet) // never lost for a spy
			}
		}
		w.publish(p, packet)
	} else if !errors.Is(err, ErrEpoch) && !errors.Is(err, ErrRemoved) {
		w.t.Fatalf("%s: %v", p.name, err)
	}
}

// forgotten reports whether all who remain have taken in that v was removed.
func (w *world) forgotten(v *peer) bool {
	for _, p := range w.remaining() {
		if p.b.Get(row(goneRow, v.m.ID())) == nil {
			return false
		}
	}
	return true
}

// remaining are those whom nobody has removed.
func (w *world) remaining() []*peer {
	return slices.DeleteFunc(slices.Clone(w.peers), func(p *peer) bool { return w.gone[p] })
}

// agreed reports whether all who remain can read each other and know that the
// others are gone.
func (w *world) agreed() bool {
	stay := w.remaining()
	for _, p := range stay {
		if p.m.NeedsKey() || p.m.Removed() || p.m.Epoch() != stay[0].m.Epoch() ||
			p.m.record().has(flagDirty) {
			return false
		}
		for _, q := range stay {
			if !hasHash(w.t, q, sendHash(w.t, p)) {
				return false
			}
		}
		members := map[ID]bool{}
		for _, x := range p.m.Members() {
			members[x.ID] = !x.Outside
		}
		for _, q := range w.peers {
			if members[q.m.ID()] == w.gone[q] {
				return false
			}
		}
	}
	return true
}

// hasHash reports whether p has that key of the current epoch.
func hasHash(t testing.TB, p *peer, hash [32]byte) (has bool) {
	must(t, p.m.do(p.now, func(d *draft) error {
		keys, err := d.keysOf(d.st.epoch)
		for i := range keys {
			has = has || keys[i].hash == hash
		}
		return err
	}))
	return has
}

func sendHash(t testing.TB, p *peer) (hash [32]byte) {
	must(t, p.m.do(p.now, func(d *draft) error {
		k, err := d.sendingKey()
		if err == nil {
			hash = k.hash
		}
		return err
	}))
	return hash
}

// repair is what the living do once nothing is lost any more: speak, and ask again.
func (w *world) repair() {
	w.loss = false
	for round := range 40 {
		w.drain()
		if w.agreed() {
			return
		}
		if round%8 == 7 { // mends what members know of each other
			stay := w.remaining()
			_ = stay[w.r.IntN(len(stay))].m.Rotate(then.Add(time.Hour))
			w.flush()
		}
		for _, p := range w.remaining() {
			p.now = p.now.Add(10 * time.Minute)
			if p.m.NeedsKey() || p.m.Removed() {
				for _, i := range w.r.Perm(len(w.peers)) {
					if q := w.peers[i]; q != p && !w.gone[q] && w.let(q, p) {
						break
					}
				}
			} else {
				w.speak(p)
			}
			w.flush()
			w.drain()
		}
	}
	for _, p := range w.remaining() {
		names := []string{}
		for _, x := range p.m.Members() {
			for _, q := range w.peers {
				if q.m.ID() == x.ID {
					names = append(names, q.name)
				}
			}
		}
		h := sendHash(w.t, p)
		w.t.Logf("%s: epoch %d, %x, lacks %v, removed %v, dirty %v, members %v", p.name, p.m.Epoch(), h[:4], p.m.NeedsKey(), p.m.Removed(), p.m.record().has(flagDirty), names)
	}
	w.t.Logf("gone: %v", slices.Collect(maps.Values(w.gone)))
	w.t.Fatal("the members do not come together")
}

// TestWorlds: however the channel loses or reorders, those who remain come
// together, and whoever was removed opens nothing that is sealed afterwards.
func TestWorlds(t *testing.T) {
	seeds, steps := uint64(8), 120
	if testing.Short() {
		seeds, steps = 3, 60
	}
	for _, mode := range headed {
		for _, loss := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/loss=%v", mode, loss), func(t *testing.T) {
				var secrets atomic.Int32
				defer func() {
					if secrets.Load() == 0 {
						t.Error("no secret was ever sealed")
					}
				}()
				for seed := range seeds {
					t.Run(fmt.Sprint(seed), func(t *testing.T) { runWorld(t, mode, seed, loss, steps, &secrets) })
				}
			})
		}
	}
}

func runWorld(t *testing.T, mode Mode, seed uint64, loss bool, steps int, secrets *atomic.Int32) {
	w := newWorld(t, mode, seed, loss)
	for range steps {
		w.act()
	}
	w.repair()
	stay := w.remaining()
	for round, p := range stay {
		packet, err := p.m.Seal(p.now, [16]byte{0xee, byte(round)}, []byte("at last"))
		must(t, err)
		for _, news := range p.posted() { // at most what it had not yet told of its sealing key
			for _, q := range w.peers {
				if q != p && !w.gone[q] {
					q.quiet(news)
				}
			}
		}
		for _, q := range w.peers {
			o, err := q.open(packet)
			switch {
			case q == p:
			case w.gone[q] && o != nil:
				t.Fatalf("%s, who was removed, opens a message of %s's", q.name, p.name)
			case !w.gone[q] && (err != nil || !bytes.Equal(o.Body, []byte("at last"))):
				t.Fatalf("%s opens %s's message: %v", q.name, p.name, err)
			}
		}
		for _, q := range w.peers {
			if len(q.posted()) > 0 && !w.gone[q] {
				t.Fatal("not settled")
			}
		}
	}
	if w.shown == 0 {
		t.Fatal("nothing was ever shown")
	}
	secrets.Add(int32(len(w.secrets)))
}
