package parleytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"parley"
)

// A CarrierFixture is what [Carrier] tests a carrier with: a real far server, or
// as real as the carrier's package can have it in a test.
type CarrierFixture struct {
	Carrier parley.Carrier
	At      parley.Address // where to Claim
	// Other is the carrier of the other device; nil means the same.
	Other parley.Carrier
	// Restart ends the far server's connections and starts it again, with
	// everything it has acknowledged still there.
	Restart func()
	// Duplicates says that the far server may deliver a packet again although
	// nothing went wrong.
	Duplicates bool
}

func (f CarrierFixture) other() parley.Carrier {
	if f.Other != nil {
		return f.Other
	}
	return f.Carrier
}

// carrierPatience bounds each wait of the suite.
const carrierPatience = time.Minute

// Carrier is the conformance suite of carriers. If the carrier is a
// [parley.Binder], securing is tested too. Each test gets a fixture of its own.
func Carrier(t *testing.T, fixture func(t *testing.T) CarrierFixture) {
	for _, c := range []struct {
		name string
		test func(*testing.T, CarrierFixture)
	}{
		{"order", carrierOrder},
		{"keep before acknowledging", carrierKeep},
		{"send repeated", carrierRepeat},
		{"waits for the receiver", carrierStores},
		{"binder", carrierBinder},
		{"restart", carrierRestart},
		{"cancel", carrierCancel},
		{"many mailboxes", carrierMany},
		{"sizes", carrierSizes},
		{"bad endpoints", carrierBad},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, fixture(t)) })
	}
}

// A carrierPair is a mailbox: the end to receive from and the end to send to.
type carrierPair struct {
	in, out parley.Endpoint
}

// pair claims a mailbox, joins it and, with a Binder, secures it.
func (f CarrierFixture) pair(ctx context.Context, t *testing.T) carrierPair {
	t.Helper()
	p := f.open(ctx, t)
	b, ok := f.other().(parley.Binder)
	if !ok {
		return p
	}
	need(t, b.Confirm(ctx, p.out, []byte("confirmation")))
	in := f.receive(ctx, t, f.Carrier, p.in)
	d := in.next(t)
	in.stop(t)
	if string(d.Packet) != "confirmation" || d.Bind == nil {
		t.Fatalf("the confirmation came as %q with bind %x", d.Packet, d.Bind)
	}
	need(t, f.Carrier.(parley.Binder).Secure(ctx, p.in, d.Bind))
	return p
}

func (f CarrierFixture) open(ctx context.Context, t *testing.T) (p carrierPair) {
	t.Helper()
	var err error
	p.in, err = f.Carrier.Claim(ctx, f.At)
	need(t, err)
	p.out, err = f.other().Join(ctx, p.in.Address)
	need(t, err)
	if p.out.Max <= 0 {
		t.Fatalf("an endpoint to send to has Max %d", p.out.Max)
	}
	p.in.Address = "" // a messenger may delete it
	return p
}

func (f CarrierFixture) send(ctx context.Context, t *testing.T, to parley.Endpoint, packet string) {
	t.Helper()
	reach, err := f.other().Send(ctx, to, []byte(packet))
	need(t, err)
	if reach != parley.AtRelay && reach != parley.AtDevice {
		t.Fatalf("Send says the packet got as far as %d", reach)
	}
}

func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A carrierInbox collects what one Receive keeps.
type carrierInbox struct {
	got    chan parley.Delivery
	cancel context.CancelFunc
	done   chan error
}

// receive starts Receive; keeps, if any, say what the first calls of keep return.
func (f CarrierFixture) receive(ctx context.Context, t *testing.T, c parley.Carrier, at parley.Endpoint, keeps ...error) *carrierInbox {
	ctx, cancel := context.WithCancel(ctx)
	in := &carrierInbox{make(chan parley.Delivery, 1000), cancel, make(chan error, 1)}
	go func() {
		in.done <- c.Receive(ctx, []parley.Endpoint{at}, func(i int, d parley.Delivery) error {
			if i != 0 {
				return fmt.Errorf("keep was called with index %d of one mailbox", i)
			}
			in.got <- d
			if len(keeps) > 0 {
				err := keeps[0]
				keeps = keeps[1:]
				return err
			}
			return nil
		})
	}()
	t.Cleanup(cancel)
	return in
}

func (in *carrierInbox) next(t *testing.T) parley.Delivery {
	t.Helper()
	select {
	case d := <-in.got:
		return d
	case err := <-in.done:
		t.Fatalf("Receive ended: %v", err)
	case <-time.After(carrierPatience):
		t.Fatal("nothing arrived")
	}
	return parley.Delivery{}
}

// want reads packets in order; again says that each may come more than once.
func (in *carrierInbox) want(t *testing.T, again bool, packets ...string) {
	t.Helper()
	last := ""
	for i, p := range packets {
		got := string(in.next(t).Packet)
		for again && i > 0 && got == last && got != p {
			got = string(in.next(t).Packet)
		}
		if got != p {
			t.Fatalf("packet %d is %q, want %q", i, got, p)
		}
		last = got
	}
}

// none checks that nothing more has come.
func (in *carrierInbox) none(t *testing.T) {
	t.Helper()
	select {
	case d := <-in.got:
		t.Fatalf("%q came, and nothing should", d.Packet)
	default:
	}
}

func (in *carrierInbox) stop(t *testing.T) {
	t.Helper()
	in.cancel()
	select {
	case err := <-in.done:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("Receive ended with %v, want context.Canceled", err)
		}
	case <-time.After(carrierPatience):
		t.Fatal("Receive did not end")
	}
}

func carrierContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), carrierPatience)
	t.Cleanup(cancel)
	return ctx
}
