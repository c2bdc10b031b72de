package padstore

import (
	"bytes"
	"os"
	"reflect"
	"sync"
	"testing"

	"parley"
	"parley/secure/otp"
)

// TestAgain: what was answered and is not done is answered again, across restarts, and
// nothing else is: no file changes by it.
func TestAgain(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 60_000)
		a, b := w.both()
		nothing := func() {
			t.Helper()
			if packet, ok, err := a.Again(ctx, id(1), []byte("hello")); packet != nil || ok || err != nil {
				t.Fatal(packet, ok, err)
			}
		}
		nothing()
		packet := pack(t, a, 1, "hello")
		if o, ok, err := b.Reopen(ctx, packet); o != nil || ok || err != nil {
			t.Fatal(o, ok, err)
		}
		opened := unpack(t, b, packet, "hello")
		check(t, a.Close())
		check(t, b.Close())
		a, b = w.both()
		before := w.files(t)
		again, ok, err := a.Again(ctx, id(1), []byte("hello"))
		if err != nil || !ok || !bytes.Equal(again, packet) {
			t.Fatal(ok, err)
		}
		for _, other := range []string{"hallo", "hello, longer than that"} {
			packet, ok, err := a.Again(ctx, id(1), []byte(other))
			is(t, err, parley.ErrRefused)
			if packet != nil || ok {
				t.Error("another message was packaged")
			}
		}
		if _, ok, err := a.Again(ctx, id(2), []byte("hello")); ok || err != nil {
			t.Error(ok, err)
		}
		if o, ok, err := b.Reopen(ctx, packet); err != nil || !ok || !reflect.DeepEqual(o, opened) {
			t.Errorf("%+v, %v, %v", o, ok, err)
		}
		forged := bytes.Clone(packet)
		forged[len(forged)-1] ^= 1
		for _, none := range [][]byte{forged, nil, packet[:20]} {
			if _, ok, err := b.Reopen(ctx, none); ok || err != nil {
				t.Error(ok, err)
			}
		}
		if w.files(t) != before || len(w.told()) > 0 {
			t.Error("to ask again has changed a file, or was told")
		}
		finished(t, a, packet)
		finished(t, b, packet)
		nothing()
		if o, ok, err := b.Reopen(ctx, packet); o != nil || ok || err != nil {
			t.Error(o, ok, err)
		}
	})
}

func (w *world) files(t *testing.T) (all string) {
	for _, dir := range w.dirs {
		entries, err := os.ReadDir(dir)
		check(t, err)
		for _, e := range entries {
			b, err := os.ReadFile(dir + "/" + e.Name())
			check(t, err)
			all += e.Name() + string(b)
		}
	}
	return all
}

func TestGrantAgain(t *testing.T) {
	w := newWorld(t, otp.V2, 8000)
	a := w.open(0)
	if _, ok, err := a.GrantAgain(ctx, id(1), 500); ok || err != nil {
		t.Fatal(ok, err)
	}
	packet, err := a.Grant(ctx, id(1), 500)
	check(t, err)
	if again, ok, err := a.GrantAgain(ctx, id(1), 500); err != nil || !ok || !bytes.Equal(again, packet) {
		t.Error(ok, err)
	}
	for _, n := range []int64{501, 0, -1} {
		if _, ok, err := a.GrantAgain(ctx, id(1), n); ok || err == nil {
			t.Errorf("%d: %v", n, ok)
		}
	}
	_, ok, err := a.Again(ctx, id(1), otp.MarshalGrant(0, 1)) // a message is no grant
	is(t, err, parley.ErrRefused)
	if ok {
		t.Error("a grant was repeated as a message")
	}
	finished(t, a, packet)
	if _, ok, err := a.GrantAgain(ctx, id(1), 500); ok || err != nil {
		t.Error(ok, err)
	}
}

// TestAgainRace: while one says done, nobody else's Again makes a packet.
func TestAgainRace(t *testing.T) {
	w := newWorld(t, otp.V2, 60_000)
	a := w.open(0)
	for i := range 50 {
		packet := pack(t, a, i, "hello")
		left, _ := a.Status(ctx, "bob")
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				if again, ok, err := a.Again(ctx, id(i), []byte("hello")); err != nil || ok && !bytes.Equal(again, packet) {
					t.Error(ok, err)
				}
			})
		}
		running.Go(func() { finished(t, a, packet) })
		running.Wait()
		if now, _ := a.Status(ctx, "bob"); now.Left != left.Left {
			t.Fatal("pad was used")
		}
	}
}
