package smpclient_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"parley"
	"parley/broker"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
	smpserver "parley/carrier/smp/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// receive starts Receive and returns what it keeps.
func receive(t testing.TB, c *smpclient.Client, at ...parley.Endpoint) (<-chan parley.Delivery, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	got, done := make(chan parley.Delivery, 1000), make(chan struct{})
	go func() {
		defer close(done)
		err := c.Receive(ctx, at, func(_ int, d parley.Delivery) error { got <- d; return nil })
		if !errors.Is(err, context.Canceled) && !errors.Is(err, parley.ErrOffline) {
			t.Errorf("Receive: %v", err)
		}
	}()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return got, stop
}

func next(t testing.TB, ctx context.Context, got <-chan parley.Delivery) parley.Delivery {
	t.Helper()
	select {
	case d := <-got:
		return d
	case <-ctx.Done():
		t.Fatal("nothing arrived")
		return parley.Delivery{}
	}
}

// secured makes a mailbox and closes it to all but out.
func secured(t testing.TB, ctx context.Context, c *smpclient.Client, at parley.Address) (in, out parley.Endpoint) {
	t.Helper()
	in = must(c.Claim(ctx, at))(t)
	out = must(c.Join(ctx, in.Address))(t)
	if err := c.Confirm(ctx, out, []byte("me")); err != nil {
		t.Fatal(err)
	}
	got, stop := receive(t, c, in)
	d := next(t, ctx, got)
	stop()
	if err := c.Secure(ctx, in, d.Bind); err != nil {
		t.Fatal(err)
	}
	return in, out
}

func TestBare(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx, c := withTimeout(t), newClient(t, quick)
	in := must(c.Claim(ctx, smpclient.Bare(r.address())))(t)
	m := must(smpclient.ParseMailbox(in.Address))(t)
	line := must(m.OutOfBand())(t)
	back := must(smpclient.FromOutOfBand(line))(t)
	if back.Address() != in.Address || !back.Bare {
		t.Fatalf("%s came back as %s", in.Address, back.Address())
	}
	out := must(c.Join(ctx, back.Address()))(t)
	for _, bad := range []string{"", "x", "\n", "x\ny", "a b\ny\n", "KEY AAAA\ny\n"} {
		if _, err := c.Send(ctx, out, []byte(bad)); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("Send took the bare packet %q: %v", bad, err)
		}
		if err := c.Confirm(ctx, out, []byte(bad)); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("Confirm took the bare packet %q: %v", bad, err)
		}
	}
	if err := c.Confirm(ctx, out, []byte("x\ny\n")); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("Confirm took a packet with reserved words: %v", err)
	}
	if err := c.Confirm(ctx, out, []byte("\nBob\n")); err != nil {
		t.Fatal(err)
	}
	got, _ := receive(t, c, in)
	d := next(t, ctx, got)
	if string(d.Packet) != "\nBob\n" || d.Bind == nil {
		t.Fatalf("%q with bind %x", d.Packet, d.Bind)
	}
	if err := c.Secure(ctx, in, d.Bind); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"\nhello\n", "reserved\n\n\x00\n\n"} {
		must(c.Send(ctx, out, []byte(p)))(t)
		if d := next(t, ctx, got); string(d.Packet) != p || d.Bind != nil {
			t.Fatalf("%q came as %q", p, d.Packet)
		}
	}
}

// Each mailbox has keys of its own, at both ends, and the secret of the receiving
// end names neither SID nor SK.
func TestFreshKeys(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx, c := withTimeout(t), newClient(t, quick)
	seen := make(map[string]string)
	look := func(e parley.Endpoint, fields ...string) {
		t.Helper()
		var s map[string]any
		if err := json.Unmarshal(e.Secret, &s); err != nil {
			t.Fatal(err)
		}
		if len(s) != len(fields)+2 { // and v, server
			t.Errorf("the secret has %d fields", len(s))
		}
		for _, f := range fields {
			v, _ := s[f].(string)
			if where := seen[v]; where != "" || v == "" {
				t.Errorf("%s is the same as %s, or missing", f, where)
			}
			seen[v] = f
		}
	}
	a, b := must(c.Claim(ctx, r.address()))(t), must(c.Claim(ctx, r.address()))(t)
	look(a, "rid", "rk", "ek")
	look(b, "rid", "rk", "ek")
	look(must(c.Join(ctx, a.Address))(t), "sid", "sk", "ekpub")
	clear(seen)
	look(must(c.Join(ctx, b.Address))(t), "sid", "sk", "ekpub")
	one, two := must(c.Join(ctx, a.Address))(t), must(c.Join(ctx, a.Address))(t)
	if string(one.Secret) == string(two.Secret) {
		t.Error("two senders have the same SK")
	}
}

// What anybody may send to a mailbox that is not secured must not stop it.
func TestUndecryptable(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx, c := withTimeout(t), newClient(t, quick)
	in := must(c.Claim(ctx, r.address()))(t)
	m := must(smpclient.ParseMailbox(in.Address))(t)
	conn := must(smpclient.Dial(ctx, m.Server, smpclient.Options{}, nil))(t)
	defer conn.Close()
	for _, body := range []string{"", "hello", strings.Repeat("\x01", 256), strings.Repeat("\xff", 256), strings.Repeat("\n", 3000)} {
		if rep, err := conn.Do(ctx, &smp.Transmission{ID: m.Sender, Verb: smp.SEND, Body: []byte(body)}); err != nil || rep.Err() != nil {
			t.Fatal(err, rep)
		}
	}
	out := must(c.Join(ctx, in.Address))(t)
	if err := c.Confirm(ctx, out, []byte("real")); err != nil {
		t.Fatal(err)
	}
	got, _ := receive(t, c, in)
	if d := next(t, ctx, got); string(d.Packet) != "real" {
		t.Fatalf("%q came first", d.Packet)
	}
}

func TestErrors(t *testing.T) {
	r := newRelay(t, false, broker.Options{Quota: 3}, smpserver.Options{})
	ctx, c := withTimeout(t), newClient(t, quick)
	in, out := secured(t, ctx, c, r.address())
	for range 3 {
		must(c.Send(ctx, out, []byte("x")))(t)
	}
	if _, err := c.Send(ctx, out, []byte("x")); !errors.Is(err, parley.ErrFull) || !errors.Is(err, smp.CodeQuota) {
		t.Errorf("a full mailbox: %v", err)
	}
	if err := c.Delete(ctx, in); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, in); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := c.Send(ctx, out, []byte("x")); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("a deleted mailbox: %v", err)
	}
	if err := c.Confirm(ctx, out, []byte("x")); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("a deleted mailbox: %v", err)
	}
	// The ends are not interchangeable.
	if _, err := c.Send(ctx, in, []byte("x")); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("sending to the receiving end: %v", err)
	}
	if err := c.Receive(ctx, []parley.Endpoint{out}, nil); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("receiving from the sending end: %v", err)
	}
	for _, a := range []parley.Address{"smp2020-plain://192.0.2.1:1", "smp2020-plain://relay.example"} {
		if _, err := c.Claim(ctx, a); !errors.Is(err, smpclient.ErrPlain) || !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", a, err)
		}
	}
	if _, err := c.Claim(ctx, in.Address); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("claiming a mailbox: %v", err)
	}
	c.Close()
	if _, err := c.Send(ctx, out, []byte("x")); !errors.Is(err, parley.ErrOffline) {
		t.Errorf("after Close: %v", err)
	}
	if err := c.Receive(ctx, []parley.Endpoint{in}, nil); !errors.Is(err, parley.ErrOffline) {
		t.Errorf("Receive after Close: %v", err)
	}
}

// A Confirm whose answer got lost can be repeated when the mailbox has been
// secured meanwhile; a stranger's cannot.
func TestConfirmAgain(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx, c := withTimeout(t), newClient(t, quick)
	in, out := secured(t, ctx, c, r.address())
	if err := c.Confirm(ctx, out, []byte("me again")); err != nil {
		t.Fatal(err)
	}
	got, _ := receive(t, c, in)
	if d := next(t, ctx, got); string(d.Packet) != "me again" || d.Bind == nil || c.Secure(ctx, in, d.Bind) != nil {
		t.Fatalf("%q, %x", d.Packet, d.Bind)
	}
}

// HOLD answers when the mailbox has run empty, and ACKs do not wait for it.
func TestSuspend(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx, c := withTimeout(t), newClient(t, quick)
	in, out := secured(t, ctx, c, r.address())
	for _, p := range []string{"a", "b", "c"} {
		must(c.Send(ctx, out, []byte(p)))(t)
	}
	held := make(chan error, 1)
	go func() { held <- c.Suspend(ctx, in) }()
	for { // until the relay has begun to refuse
		if _, err := c.Send(ctx, out, []byte("d")); errors.Is(err, parley.ErrDenied) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-held:
		t.Fatalf("Suspend returned %v with messages left", err)
	default:
	}
	got, _ := receive(t, c, in)
	for _, p := range []string{"a", "b", "c"} {
		if d := next(t, ctx, got); string(d.Packet) != p {
			t.Fatalf("got %q, want %q", d.Packet, p)
		}
	}
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	if err := c.Suspend(ctx, in); err != nil {
		t.Fatalf("again: %v", err)
	}
	if err := c.Delete(ctx, in); err != nil {
		t.Fatal(err)
	}
}

func TestCreators(t *testing.T) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	r := newRelay(t, false, broker.Options{}, smpserver.Options{Creators: []*rsa.PublicKey{&key.PublicKey}})
	ctx := withTimeout(t)
	if _, err := newClient(t, quick).Claim(ctx, r.address()); err == nil {
		t.Error("a stranger may create")
	}
	o := quick
	o.Creator = func(a parley.Address) crypto.Signer {
		if a != r.address() {
			t.Errorf("asked for %s", a)
		}
		return key
	}
	must(newClient(t, o).Claim(ctx, r.address()))(t)
	o.Creator = func(parley.Address) crypto.Signer { return relayKey() }
	if _, err := newClient(t, o).Claim(ctx, r.address()); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("another creator: %v", err)
	}
}

// Two devices at one mailbox: the first is told, and does not fight.
func TestTakenOver(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx := withTimeout(t)
	told := make(chan error, 10)
	o := quick
	o.OnMailbox = func(at parley.Endpoint, err error) { told <- err }
	first, second := newClient(t, o), newClient(t, quick)
	in, out := secured(t, ctx, first, r.address())
	one, stop := receive(t, first, in)
	must(second.Send(ctx, out, []byte("a")))(t)
	if d := next(t, ctx, one); string(d.Packet) != "a" {
		t.Fatal("not received")
	}
	two, _ := receive(t, second, in)
	if err := <-told; !errors.Is(err, smpclient.ErrTakenOver) {
		t.Fatal(err)
	}
	must(second.Send(ctx, out, []byte("b")))(t)
	for d := next(t, ctx, two); string(d.Packet) != "b"; d = next(t, ctx, two) { // a, if its ACK came too late
	}
	select {
	case d := <-one:
		t.Fatalf("the first still gets %q", d.Packet)
	default:
	}
	stop()
}

// A mailbox that the relay does not know is reported, and the others go on.
func TestUnknownMailbox(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx := withTimeout(t)
	told := make(chan error, 10)
	o := quick
	o.OnMailbox = func(at parley.Endpoint, err error) { told <- err }
	c := newClient(t, o)
	in, out := secured(t, ctx, c, r.address())
	gone := must(c.Claim(ctx, r.address()))(t)
	if err := c.Delete(ctx, gone); err != nil {
		t.Fatal(err)
	}
	got, _ := receive(t, c, gone, in)
	if err := <-told; !errors.Is(err, parley.ErrDenied) {
		t.Fatal(err)
	}
	must(c.Send(ctx, out, []byte("x")))(t)
	next(t, ctx, got)
	if err := c.Receive(ctx, []parley.Endpoint{in}, nil); !errors.Is(err, smpclient.ErrReceiving) {
		t.Errorf("received from twice: %v", err)
	}
}

func TestState(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	type state struct {
		at   parley.Address
		up   bool
		fail error
	}
	states := make(chan state, 100)
	o := quick
	o.OnState = func(at parley.Address, up bool, err error) { states <- state{at, up, err} }
	ctx, c := withTimeout(t), newClient(t, o)
	in := must(c.Claim(ctx, r.address()))(t)
	if s := <-states; !s.up || s.fail != nil || s.at != r.address() {
		t.Fatalf("%+v", s)
	}
	receive(t, c, in)
	r.restart()
	if s := <-states; s.up || !errors.Is(s.fail, parley.ErrOffline) {
		t.Fatalf("%+v", s)
	}
	for s := range states {
		if s.up {
			break
		}
	}
}

// TestRaw is how a benchmark uses the layer below: signed beforehand, many in a
// block, replies in order.
func TestRaw(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	ctx := withTimeout(t)
	srv := must(smp.ParseServer(string(r.address())))(t)
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	events := make(chan smpclient.Event, 100)
	conn := must(smpclient.Dial(ctx, srv, smpclient.Options{}, func(e smpclient.Event) { events <- e }))(t)
	defer conn.Close()
	create := smp.Transmission{Verb: smp.CONN, Key: must(smp.MarshalKey(&key.PublicKey))(t)}
	rep := must(conn.Do(ctx, &create))(t)
	if rep.Verb != smp.IDS || rep.Recipient == rep.Sender {
		t.Fatalf("%+v", rep)
	}
	send := smp.Transmission{ID: rep.Sender, Verb: smp.SEND, Body: []byte("a\nb")}
	ack := smp.Transmission{ID: rep.Recipient, Verb: smp.ACK}
	if err := ack.Sign(key); err != nil {
		t.Fatal(err)
	}
	sendRaw, ackRaw := send.Append(nil), ack.Append(nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if rep, err := conn.DoRaw(ctx, rep.Sender, sendRaw); err != nil || rep.Verb != smp.OK {
				t.Errorf("%+v %v", rep, err)
			}
		})
	}
	for range 20 {
		if e := <-events; e.Verb != smp.MSG || e.ID != rep.Recipient || string(e.Body) != "a\nb" || e.Time.IsZero() {
			t.Fatalf("%+v", e)
		}
		if rep, err := conn.DoRaw(ctx, rep.Recipient, ackRaw); err != nil || rep.Err() != nil {
			t.Fatal(rep, err)
		}
	}
	wg.Wait()
	if rep, err := conn.DoRaw(ctx, rep.Recipient, ackRaw); err != nil || !errors.Is(rep.Err(), smp.CodeProhibited) {
		t.Fatal(rep, err)
	}
	if _, err := conn.DoRaw(ctx, rep.Sender, make([]byte, smp.ContentSize+1)); !errors.Is(err, smp.ErrTooLarge) {
		t.Fatal(err)
	}
}
