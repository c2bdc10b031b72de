package parleytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"parley"
)

func carrierOrder(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	p := f.pair(ctx, t)
	in := f.receive(ctx, t, f.Carrier, p.in)
	var want []string
	for i := range 20 {
		s := fmt.Sprintf("packet %d\n\x00\r#", i)
		f.send(ctx, t, p.out, s)
		want = append(want, s)
	}
	in.want(t, f.Duplicates, want...)
	f.send(ctx, t, p.out, "")
	in.want(t, f.Duplicates, "")
	in.stop(t)
}

// carrierKeep: what keep refused comes again, on the same Receive and after it.
func carrierKeep(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	p := f.pair(ctx, t)
	disk := errors.New("the disk is full")
	f.send(ctx, t, p.out, "one")
	f.send(ctx, t, p.out, "two")
	in := f.receive(ctx, t, f.Carrier, p.in, disk)
	in.want(t, false, "one")
	in.want(t, false, "one")
	in.want(t, f.Duplicates, "two")
	in.stop(t)

	f.send(ctx, t, p.out, "three")
	in = f.receive(ctx, t, f.Carrier, p.in, disk, disk, disk, disk)
	in.want(t, false, "three")
	in.stop(t) // not kept
	in = f.receive(ctx, t, f.Carrier, p.in)
	in.want(t, false, "three")
	f.send(ctx, t, p.out, "four")
	for d := in.next(t); string(d.Packet) != "four"; d = in.next(t) {
		if !f.Duplicates {
			t.Fatalf("%q came again after it was kept", d.Packet)
		}
	}
	in.stop(t)
}

func carrierRepeat(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	p := f.pair(ctx, t)
	for range 3 {
		f.send(ctx, t, p.out, "again")
	}
	f.send(ctx, t, p.out, "end")
	in := f.receive(ctx, t, f.Carrier, p.in)
	in.want(t, false, "again")
	for string(in.next(t).Packet) == "again" { // once or three times
	}
	in.stop(t)
}

// carrierStores: packets wait at the far server while nobody receives.
func carrierStores(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	p := f.pair(ctx, t)
	f.send(ctx, t, p.out, "a")
	f.Restart()
	eventually(ctx, t, func() error {
		_, err := f.other().Send(ctx, p.out, []byte("b"))
		return err
	})
	in := f.receive(ctx, t, f.Carrier, p.in)
	in.want(t, f.Duplicates, "a")
	in.want(t, f.Duplicates, "b")
	in.stop(t)
}

// eventually repeats f while it says that the server is offline.
func eventually(ctx context.Context, t *testing.T, f func() error) {
	t.Helper()
	for {
		err := f()
		if err == nil {
			return
		}
		if !errors.Is(err, parley.ErrOffline) {
			t.Fatalf("%v, want nothing worse than %v", err, parley.ErrOffline)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func carrierBinder(t *testing.T, f CarrierFixture) {
	c, ok := f.Carrier.(parley.Binder)
	if !ok {
		t.Skip("this carrier's mailboxes cannot be closed")
	}
	o := f.other().(parley.Binder)
	ctx := carrierContext(t)
	p := f.open(ctx, t)
	if _, err := o.Send(ctx, p.out, []byte("x")); !errors.Is(err, parley.ErrDenied) {
		t.Fatalf("Send before Secure: %v, want ErrDenied", err)
	}
	need(t, o.Confirm(ctx, p.out, []byte("hello")))
	need(t, o.Confirm(ctx, p.out, []byte("hello"))) // a sender that did not hear the answer
	in := f.receive(ctx, t, c, p.in)
	d := in.next(t)
	if string(d.Packet) != "hello" || len(d.Bind) == 0 {
		t.Fatalf("the confirmation came as %q with bind %x", d.Packet, d.Bind)
	}
	if e := in.next(t); !bytes.Equal(e.Bind, d.Bind) {
		t.Fatal("the same sender's confirmations carry different keys")
	}
	need(t, c.Secure(ctx, p.in, d.Bind))
	need(t, c.Secure(ctx, p.in, d.Bind)) // repeatable
	f.send(ctx, t, p.out, "signed")
	if d := in.next(t); string(d.Packet) != "signed" || d.Bind != nil {
		t.Fatalf("got %q with bind %x", d.Packet, d.Bind)
	}

	stolen, err := f.Carrier.Claim(ctx, f.At)
	need(t, err)
	late, err := o.Join(ctx, stolen.Address)
	need(t, err)
	need(t, o.Confirm(ctx, late, []byte("first")))
	first := f.receive(ctx, t, c, stolen)
	need(t, c.Secure(ctx, stolen, first.next(t).Bind))
	other, err := o.Join(ctx, stolen.Address)
	need(t, err)
	if err := o.Confirm(ctx, other, []byte("x")); !errors.Is(err, parley.ErrDenied) {
		t.Fatalf("a stranger's Confirm after Secure: %v, want ErrDenied", err)
	}
	if _, err := o.Send(ctx, other, []byte("x")); !errors.Is(err, parley.ErrDenied) {
		t.Fatalf("a stranger's Send after Secure: %v, want ErrDenied", err)
	}
	if err := c.Secure(ctx, p.in, []byte("not a key")); !errors.Is(err, parley.ErrRefused) {
		t.Fatalf("Secure with garbage: %v, want ErrRefused", err)
	}
	in.none(t)
	first.none(t)
	in.stop(t)
	first.stop(t)
}

// carrierRestart: Receive goes on over the far server's restarts, and what was
// sent meanwhile arrives in order.
func carrierRestart(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	p := f.pair(ctx, t)
	in := f.receive(ctx, t, f.Carrier, p.in)
	for i := range 3 {
		s := fmt.Sprint("after restart ", i)
		eventually(ctx, t, func() error {
			_, err := f.other().Send(ctx, p.out, []byte(s))
			return err
		})
		// The reply or the acknowledgement may have got lost: then it comes again.
		for string(in.next(t).Packet) != s {
		}
		f.Restart()
	}
	in.stop(t)
}

func carrierCancel(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	p := f.pair(ctx, t)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := f.Carrier.Claim(gone, f.At); err == nil {
		t.Fatal("Claim with a context that is done")
	}
	if _, err := f.other().Send(gone, p.out, []byte("x")); err == nil {
		t.Fatal("Send with a context that is done")
	}
	if err := f.Carrier.Receive(gone, []parley.Endpoint{p.in}, func(int, parley.Delivery) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("Receive with a context that is done: %v", err)
	}
	// When Receive has returned, keep is not running and not called again.
	in := f.receive(ctx, t, f.Carrier, p.in)
	f.send(ctx, t, p.out, "one")
	for string(in.next(t).Packet) != "one" {
	}
	in.stop(t)
	f.send(ctx, t, p.out, "two")
	for len(in.got) > 0 {
		if d := <-in.got; string(d.Packet) == "two" {
			t.Fatal("keep was called after Receive had returned")
		}
	}
}

func carrierMany(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	const boxes, each = 6, 5
	var at []parley.Endpoint
	var to []parley.Endpoint
	for range boxes {
		p := f.pair(ctx, t)
		at, to = append(at, p.in), append(to, p.out)
	}
	var mu sync.Mutex
	busy := make([]bool, boxes) // keep runs for the mailbox
	next := make([]int, boxes)
	all := make(chan struct{})
	left := boxes * each
	ctx2, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- f.Carrier.Receive(ctx2, at, func(i int, d parley.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if busy[i] {
				t.Errorf("keep was called for mailbox %d while it was running", i)
			}
			busy[i] = true
			mu.Unlock()
			for range 100 {
				runtime.Gosched() // let others in
			}
			mu.Lock()
			busy[i] = false
			want := fmt.Sprintf("box %d packet %d", i, next[i])
			if string(d.Packet) != want {
				if f.Duplicates && next[i] > 0 {
					return nil
				}
				t.Errorf("mailbox %d got %q, want %q", i, d.Packet, want)
			}
			next[i]++
			if left--; left == 0 {
				close(all)
			}
			return nil
		})
	}()
	var wg sync.WaitGroup
	for i := range boxes {
		wg.Go(func() {
			for n := range each {
				if _, err := f.other().Send(ctx, to[i], fmt.Appendf(nil, "box %d packet %d", i, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	select {
	case <-all:
	case <-ctx.Done():
		t.Errorf("%d packets have not come", left)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Receive ended with %v", err)
	}
}

func carrierSizes(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	p := f.pair(ctx, t)
	in := f.receive(ctx, t, f.Carrier, p.in)
	for _, n := range []int{0, 1, p.out.Max - 1, p.out.Max} {
		s := string(bytes.Repeat([]byte{byte(n)}, n))
		f.send(ctx, t, p.out, s)
		in.want(t, f.Duplicates, s)
	}
	if _, err := f.other().Send(ctx, p.out, make([]byte, p.out.Max+1)); !errors.Is(err, parley.ErrRefused) {
		t.Fatalf("a packet of Max+1 bytes: %v, want ErrRefused", err)
	}
	if b, ok := f.other().(parley.Binder); ok {
		q := f.open(ctx, t)
		need(t, b.Confirm(ctx, q.out, make([]byte, q.out.Max)))
		if err := b.Confirm(ctx, q.out, make([]byte, q.out.Max+1)); !errors.Is(err, parley.ErrRefused) {
			t.Fatalf("a confirmation of Max+1 bytes: %v, want ErrRefused", err)
		}
	}
	in.stop(t)
}

func carrierBad(t *testing.T, f CarrierFixture) {
	ctx := carrierContext(t)
	c := f.Carrier
	for _, a := range []parley.Address{"", "nonsense", "://", parley.Address("wrong-scheme://x/y"), f.At + "/\x00"} {
		if _, err := c.Claim(ctx, a); err == nil {
			t.Errorf("Claim took %q", a)
		}
		if _, err := c.Join(ctx, a); err == nil {
			t.Errorf("Join took %q", a)
		}
	}
	keep := func(int, parley.Delivery) error { return nil }
	for _, secret := range []string{"", "x", "{}", "null"} {
		e := parley.Endpoint{Secret: []byte(secret)}
		if _, err := c.Send(ctx, e, []byte("x")); err == nil {
			t.Errorf("Send took the secret %q", secret)
		}
		if err := c.Receive(ctx, []parley.Endpoint{e}, keep); err == nil || ctx.Err() != nil {
			t.Errorf("Receive took the secret %q", secret)
		}
	}
}
