package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley"
	"parley/paddevice/client"
	"parley/secure/otp"
)

// deny says no to every question until the test ends, and counts them.
func (w *world) deny() (asked func() int) {
	var mu sync.Mutex
	n := 0
	ctx, stop := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			a, _, changed := w.s.dev.confirm.Shown()
			if a != nil {
				mu.Lock()
				n++
				mu.Unlock()
				w.s.dev.confirm.Answer(a.Number, false)
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	w.t.Cleanup(func() { stop(); <-done })
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// sent sends a message that the person allows.
func (w *world) sent(c *client.Client, id byte, msg string) []byte {
	w.t.Helper()
	got := make(chan []byte, 1)
	go func() {
		packet, err := c.Package(w.t.Context(), [16]byte{id}, "bob", []byte(msg))
		if err != nil {
			w.t.Error(err)
		}
		got <- packet
	}()
	w.answer(true)
	return <-got
}

// TestAgainReplacedPad: an id that was allowed means nothing for another pad, another
// message or another grant.
func TestAgainReplacedPad(t *testing.T) {
	w, alice, _ := newPaired(t, Options{})
	ctx := t.Context()
	w.sent(alice, 1, "hello")
	grant := make(chan error, 1)
	go func() {
		_, err := alice.Grant(ctx, [16]byte{2}, "bob", 64)
		grant <- err
	}()
	w.answer(true)
	check(t, <-grant)
	asked := w.deny()
	if _, err := alice.Grant(ctx, [16]byte{2}, "bob", 6400); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("another size: %v", err)
	}
	// Another pad of the same name.
	for _, name := range []string{"alice.bob.pad", "alice.bob.pad.journal"} {
		check(t, os.Remove(filepath.Join(w.dir, name)))
	}
	w.v2("alice", "bob", randomBytes(10, 200_000), 0)
	before := asked()
	if _, err := alice.Package(ctx, [16]byte{1}, "bob", make([]byte, 5000)); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("a message with a new pad went unasked: %v", err)
	}
	if _, err := alice.Grant(ctx, [16]byte{2}, "bob", 6400); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("a grant of a new pad went unasked: %v", err)
	}
	if n := asked() - before; n != 2 {
		t.Errorf("%d questions", n)
	}
}

// TestAgainRace: while one says done, nobody else's repetition uses pad, or leaves behind
// an id that need not be asked for.
func TestAgainRace(t *testing.T) {
	w, alice, _ := newPaired(t, Options{})
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	ctx := t.Context()
	for i := range rounds {
		id := byte(i + 1)
		packet := w.sent(alice, id, "hello")
		before, err := alice.Status(ctx, "bob")
		check(t, err)
		stop, stopped := context.WithCancel(ctx)
		quiet := make(chan struct{})
		go func() { // no to everything
			defer close(quiet)
			for stop.Err() == nil {
				a, _, changed := w.s.dev.confirm.Shown()
				if a != nil {
					w.s.dev.confirm.Answer(a.Number, false)
					continue
				}
				select {
				case <-changed:
				case <-stop.Done():
				}
			}
		}()
		var running sync.WaitGroup
		for range 6 {
			running.Go(func() {
				again, err := alice.Package(ctx, [16]byte{id}, "bob", []byte("hello"))
				if err == nil && !bytes.Equal(again, packet) || err != nil && !errors.Is(err, parley.ErrDenied) {
					t.Error(err)
				}
			})
		}
		running.Go(func() {
			if err := alice.Done(ctx, "bob", otp.Digest(packet)); err != nil {
				t.Error(err)
			}
		})
		running.Wait()
		if _, err := alice.Package(ctx, [16]byte{id}, "bob", make([]byte, 3000)); !errors.Is(err, parley.ErrDenied) {
			t.Errorf("another message under an id that is done: %v", err)
		}
		if after, err := alice.Status(ctx, "bob"); err != nil || after.Left != before.Left {
			t.Errorf("pad was used without a yes: %d, %v", before.Left-after.Left, err)
		}
		stopped()
		<-quiet
	}
}

// keeping is a pad that keeps a packet of another client's, until that one is done.
type keeping struct {
	fakePads
	kept *bool
	used *int
}

func (k keeping) Find(_, _ parley.Name) (Pad, error) { return k, nil }
func (k keeping) Again(context.Context, [16]byte, []byte) ([]byte, bool, error) {
	return []byte("kept"), *k.kept, nil
}
func (k keeping) Reopen(context.Context, []byte) (*otp.Opened, bool, error) {
	return &otp.Opened{Message: []byte("kept")}, *k.kept, nil
}
func (k keeping) Package(context.Context, [16]byte, parley.Name, []byte) ([]byte, error) {
	*k.used++
	return []byte("new"), nil
}
func (k keeping) Unpackage(context.Context, parley.Name, []byte) (*otp.Opened, error) {
	*k.used++
	return &otp.Opened{Message: []byte("new")}, nil
}

// TestYesToAgain: a yes to what uses no more pad is none to what does.
func TestYesToAgain(t *testing.T) {
	for _, op := range []string{OpPackage, OpUnpackage} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			l, err := OpenLog(dir, t.TempDir(), nil, nil)
			check(t, err)
			a, err := openAnswered(t.Context(), dir)
			check(t, err)
			k := keeping{kept: new(bool), used: new(int)}
			*k.kept = true
			d := &device{dir: dir, pads: k, confirm: NewConfirm(time.Minute, nil), log: l, answered: a, say: func(string, ...any) {}}
			got := make(chan error, 1)
			go func() {
				j := &job{client: "x", owner: strings.Repeat("1", 32), self: "alice", peer: "bob", id: &[16]byte{1}}
				if op == OpPackage {
					_, err := d.packaged(t.Context(), j)
					got <- err
					return
				}
				j.data, err = otp.Seal(otp.Header{}, otp.Inner{}, randomBytes(1, 96))
				if err == nil {
					_, err = d.opened(t.Context(), j)
				}
				got <- err
			}()
			synctest.Wait()
			q, _, _ := d.confirm.Shown()
			if q == nil || !q.Again || q.Pad != 0 {
				t.Fatalf("%s: %+v", op, q)
			}
			*k.kept = false // the other client says done
			check(t, d.confirm.Answer(q.Number, true))
			synctest.Wait()
			q, _, _ = d.confirm.Shown()
			if q == nil || q.Again || q.Pad == 0 || *k.used != 0 {
				t.Fatalf("%s: %+v, pad was used %d times", op, q, *k.used)
			}
			check(t, d.confirm.Answer(q.Number, true))
			if err := <-got; err != nil || *k.used != 1 {
				t.Error(op, err, *k.used)
			}
			check(t, errors.Join(l.Close(), a.Close()))
		})
	}
}

// TestClientsApart: what was allowed for one client is a question for another, who cannot
// have it burned either, also after a restart; the RPC is another.
func TestClientsApart(t *testing.T) {
	w, alice, desk := newPaired(t, Options{Listen: "127.0.0.1:0"})
	visitor := w.paired("visitor", "bob")
	other := w.paired("other", "alice")
	ctx := t.Context()
	packet := w.sent(alice, 1, "for the desk")
	open := func(c *client.Client, yes, asked bool) {
		t.Helper()
		got := make(chan error, 1)
		go func() {
			o, err := c.Unpackage(ctx, "alice", packet)
			if err == nil && string(o.Message) != "for the desk" {
				err = fmt.Errorf("opened %q", o.Message)
			}
			got <- err
		}()
		if asked {
			w.answer(yes)
		}
		if err := <-got; yes != (err == nil) {
			t.Error(err)
		}
	}
	open(desk, true, true)
	open(desk, true, false)
	open(visitor, false, true)
	check(t, visitor.Done(ctx, "alice", otp.Digest(packet))) // does nothing
	open(desk, true, false)
	// Nor is the packet that alice's laptop made another client's.
	got := make(chan error, 1)
	go func() {
		_, err := other.Package(ctx, [16]byte{1}, "bob", []byte("for the desk"))
		got <- err
	}()
	if q := w.answer(false); !q.Again || q.Pad != 0 {
		t.Errorf("%+v", q)
	}
	if err := <-got; !errors.Is(err, parley.ErrDenied) {
		t.Error(err)
	}
	check(t, other.Done(ctx, "bob", otp.Digest(packet)))
	paired := strings.TrimPrefix(w.lastPaired(), "parley-pad://")
	w.stop()
	w.start(Options{Listen: "127.0.0.1:0", Paired: paired})
	open(desk, true, false)
	open(visitor, false, true)
	rpc := make(chan string, 1)
	go func() { rpc <- w.call("unpackage", "alice", "bob", b64(packet)) }()
	w.answer(true)
	if s := <-rpc; !strings.Contains(s, "for the desk") {
		t.Error(s)
	}
	open(desk, true, false) // the RPC has not had it burned
	// With a yes it is the visitor's, too: it is burned when both are done.
	open(visitor, true, true)
	check(t, desk.Done(ctx, "alice", otp.Digest(packet)))
	open(visitor, true, false)
	check(t, visitor.Done(ctx, "alice", otp.Digest(packet)))
	check(t, visitor.Done(ctx, "alice", otp.Digest(packet)))
	asked := w.deny()
	if _, err := desk.Unpackage(ctx, "alice", packet); !errors.Is(err, parley.ErrDenied) || asked() != 1 {
		t.Error(err, asked())
	}
	if again, err := alice.Package(ctx, [16]byte{1}, "bob", []byte("for the desk")); err != nil || !bytes.Equal(again, packet) {
		t.Error("the sender's packet has gone", err)
	}
}

// TestNotWrittenDown: for whom a packet was allowed is lost in a crash: the person is
// asked again, and no more pad is used. Then the client can have it burned.
func TestNotWrittenDown(t *testing.T) {
	w, alice, _ := newPaired(t, Options{})
	packet := w.sent(alice, 1, "hello")
	before, err := alice.Status(t.Context(), "bob")
	check(t, err)
	check(t, os.Truncate(filepath.Join(w.dir, answeredName), 0))
	if again := w.sent(alice, 1, "hello"); !bytes.Equal(again, packet) {
		t.Error("another packet")
	}
	if after, err := alice.Status(t.Context(), "bob"); err != nil || after.Left != before.Left {
		t.Error("pad was used twice", err)
	}
	check(t, os.Truncate(filepath.Join(w.dir, answeredName), 0))
	check(t, alice.Done(t.Context(), "bob", otp.Digest(packet)))
	if s := w.read("alice.bob.pad"); strings.Contains(s, string(randomBytes(9, 32))) {
		t.Error("not burned")
	}
}

// Those who ask for the same at the same time share one answer, and hold it once.
func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		answers, begun := make(chan answer), 0
		do := func(ctx context.Context) (answer, error) {
			begun++
			select {
			case a := <-answers:
				return a, nil
			case <-ctx.Done():
				return answer{}, context.Cause(ctx)
			}
		}
		dropped := 0
		got := make(chan error, 8)
		ask := func(ctx context.Context, key string, size int64) {
			go func() {
				a, err := f.do(ctx, key, size, func() { dropped++ }, do)
				if err == nil && string(a.packet) != "x" {
					err = errors.New("another answer")
				}
				got <- err
			}()
			synctest.Wait()
		}
		first, leave := context.WithCancel(t.Context())
		ask(first, "a", maxHeld)
		ask(t.Context(), "a", maxHeld)
		ask(t.Context(), "a", maxHeld)
		if begun != 1 || dropped != 2 || f.held != maxHeld {
			t.Errorf("%d begun, %d dropped, %d held", begun, dropped, f.held)
		}
		ask(t.Context(), "b", 1)
		if err := <-got; !errors.Is(err, errBusy) {
			t.Error(err)
		}
		leave() // the first has gone: the others still wait
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		answers <- answer{packet: []byte("x")}
		if err := errors.Join(<-got, <-got); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if f.held != 0 || len(f.by) != 0 {
			t.Error(f.held, f.by)
		}
		// All have gone: it is given up, and the next one begins anew.
		one, leave := context.WithCancel(t.Context())
		ask(one, "a", 5)
		leave()
		<-got
		synctest.Wait()
		if f.held != 0 || len(f.by) != 0 {
			t.Error(f.held, f.by)
		}
		ask(t.Context(), "a", 5)
		answers <- answer{packet: []byte("x")}
		if err := <-got; err != nil || begun != 3 {
			t.Error(err, begun)
		}
	})
}
