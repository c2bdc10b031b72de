package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/carrier/relay"
	"parley/carrier/relay/client"
	"parley/carrier/relay/server"
	"parley/parleytest"
)

// A testRelay is one of ours that can be stopped and started again at its address.
type testRelay struct {
	t    testing.TB
	o    server.Options
	addr string
	s    *server.Server
	done chan error
}

func newRelay(t testing.TB, o server.Options) *testRelay {
	r := &testRelay{t: t, o: o, addr: "127.0.0.1:0"}
	if r.o.Dir == "" {
		r.o.Dir = t.TempDir()
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *testRelay) start() {
	r.t.Helper()
	var err error
	if r.s, err = server.New(r.o); err != nil {
		r.t.Fatal(err)
	}
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.done = make(chan error, 1)
	go func(s *server.Server, done chan error) { done <- s.Serve(l) }(r.s, r.done)
}

func (r *testRelay) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.s.Shutdown(ctx); err != nil {
		r.t.Error(err)
	}
	if err := <-r.done; !errors.Is(err, server.ErrShutdown) {
		r.t.Error(err)
	}
}

func (r *testRelay) restart() { r.stop(); r.start() }

func (r *testRelay) at(rest string) parley.Address {
	return parley.Address("otc://" + r.addr + rest)
}

// generous has room for a suite that makes mailboxes as fast as it can.
func generous() server.Options {
	return server.Options{Limits: server.Limits{RequestsPerSecond: 1e6, RequestBurst: 1e6, NewMailboxBurst: 1e6}}
}

func quickClient(t testing.TB, o client.Options) *client.Client {
	o.BackoffMin, o.BackoffMax = time.Millisecond, 20*time.Millisecond
	c := client.New(o)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCarrier(t *testing.T) {
	parleytest.Carrier(t, func(t *testing.T) parleytest.CarrierFixture {
		r := newRelay(t, generous())
		return parleytest.CarrierFixture{
			Carrier: quickClient(t, client.Options{}), Other: quickClient(t, client.Options{}),
			At: r.at(""), Restart: r.restart,
		}
	})
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func claim(t testing.TB, c *client.Client, at parley.Address) parley.Endpoint {
	t.Helper()
	e, err := c.Claim(within(t), at)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func join(t testing.TB, c *client.Client, at parley.Address) parley.Endpoint {
	t.Helper()
	e, err := c.Join(within(t), at)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func send(t testing.TB, c *client.Client, to parley.Endpoint, packet string) {
	t.Helper()
	if _, err := c.Send(within(t), to, []byte(packet)); err != nil {
		t.Fatal(err)
	}
}

// take receives n packets, storing the mark as a messenger does.
func take(t testing.TB, c *client.Client, e *parley.Endpoint, n int) (all []parley.Delivery) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	err := c.Receive(ctx, []parley.Endpoint{*e}, func(_ int, d parley.Delivery) error {
		if len(all) == n {
			return errors.New("enough")
		}
		all = append(all, d)
		e.Mark = d.Mark
		if len(all) == n {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(all) != n {
		t.Fatalf("%d of %d packets, %v", len(all), n, err)
	}
	return all
}

// A mailbox that is claimed lets in only who has its tokens; what is kept is deleted.
func TestClaimed(t *testing.T) {
	r := newRelay(t, generous())
	alice, bob := quickClient(t, client.Options{}), quickClient(t, client.Options{})
	in := claim(t, alice, r.at(""))
	if !strings.Contains(string(in.Address), "send=") || strings.Contains(string(in.Address), "receive=") {
		t.Errorf("the address %s", in.Address)
	}
	out := join(t, bob, in.Address)
	send(t, bob, out, "one")
	send(t, bob, out, "one") // the reply got lost: the relay knows it again
	send(t, bob, out, "two")

	a, err := relay.ParseAddress(in.Address)
	if err != nil {
		t.Fatal(err)
	}
	a.Send = ""
	mallory := quickClient(t, client.Options{})
	if _, err := mallory.Send(within(t), join(t, mallory, a.Parley()), []byte("spam")); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("sending without the token: %v", err)
	}
	if _, err := mallory.Claim(within(t), a.Parley()); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("claiming what is claimed: %v", err)
	}
	a.Open = true
	denied := make(chan error, 1)
	spy := quickClient(t, client.Options{OnMailbox: func(_ parley.Endpoint, err error) { denied <- err }})
	stolen := claim(t, spy, a.Parley()) // nothing is asked but whether the relay is there
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() {
		ended <- spy.Receive(ctx, []parley.Endpoint{stolen}, func(int, parley.Delivery) error { t.Error("a stranger reads"); return nil })
	}()
	if err := <-denied; !errors.Is(err, parley.ErrDenied) {
		t.Errorf("a stranger is told %v", err)
	}
	cancel()
	<-ended

	all := take(t, alice, &in, 2)
	if string(all[0].Packet) != "one" || string(all[1].Packet) != "two" || all[0].From != "" {
		t.Errorf("%+v", all)
	}
	send(t, bob, out, "three")
	in.Mark = nil // even so, nothing comes twice
	if all := take(t, alice, &in, 1); string(all[0].Packet) != "three" {
		t.Errorf("%q", all[0].Packet)
	}
}

// A sender who comes first reserves the mailbox for its owner.
func TestSenderFirst(t *testing.T) {
	r := newRelay(t, generous())
	alice, bob := quickClient(t, client.Options{}), quickClient(t, client.Options{})
	tokens := "?from=bob&send=" + relay.NewToken([32]byte{1}) + "&receive=" + relay.NewToken([32]byte{2})
	send(t, bob, join(t, bob, r.at("/box"+tokens)), "early")
	if _, err := quickClient(t, client.Options{}).Claim(within(t), r.at("/box")); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("a stranger claims it: %v", err)
	}
	in := claim(t, alice, r.at("/box"+tokens))
	again := claim(t, quickClient(t, client.Options{}), r.at("/box"+tokens)) // made beforehand: the same
	if string(again.Secret) != string(in.Secret) {
		t.Error("the same claim makes another end")
	}
	if all := take(t, alice, &in, 1); string(all[0].Packet) != "early" || all[0].From != "bob" {
		t.Errorf("%+v", all)
	}
	// The relay is set up anew: the mailbox is claimed again, and numbers begin again.
	r.stop()
	r.o.Dir = t.TempDir()
	r.start()
	send(t, bob, join(t, bob, r.at("/box"+tokens)), "late")
	if all := take(t, alice, &in, 1); string(all[0].Packet) != "late" {
		t.Errorf("%q", all[0].Packet)
	}
}

// One mailbox serves several lines; each deletes its own.
func TestFrom(t *testing.T) {
	r := newRelay(t, generous())
	c := quickClient(t, client.Options{})
	fromBob, fromCarol := claim(t, c, r.at("/alice?from=bob")), claim(t, c, r.at("/alice?from=carol"))
	bob, carol := join(t, c, fromBob.Address), join(t, c, fromCarol.Address)
	for _, s := range []string{"1", "2", "3"} {
		send(t, c, bob, "bob "+s)
		send(t, c, carol, "carol "+s)
	}
	all := take(t, c, &fromCarol, 3)
	if string(all[2].Packet) != "carol 3" || all[2].From != "carol" {
		t.Errorf("%+v", all)
	}
	if err := c.Delete(within(t), fromCarol); err != nil {
		t.Fatal(err)
	}
	if all = take(t, c, &fromBob, 3); string(all[0].Packet) != "bob 1" {
		t.Errorf("%+v", all)
	}
	send(t, c, bob, "deleted")
	if err := c.Delete(within(t), fromBob); err != nil {
		t.Fatal(err)
	}
	send(t, c, bob, "kept")
	if all = take(t, c, &fromBob, 1); string(all[0].Packet) != "kept" {
		t.Errorf("%q", all[0].Packet)
	}
}

// What came before a client's first start is received (the original began at getnextref).
func TestDefect4MessagesFromBeforeTheFirstStart(t *testing.T) {
	r := newRelay(t, generous())
	c := quickClient(t, client.Options{})
	send(t, c, join(t, c, r.at("/alice?from=bob")), "before")
	in := claim(t, c, r.at("/alice?open"))
	if all := take(t, c, &in, 1); string(all[0].Packet) != "before" || all[0].From != "bob" {
		t.Errorf("%+v", all)
	}
	send(t, c, join(t, c, r.at("/alice?from=carol")), "after")
	// The mark alone says what was received: the mailbox is the original's, too.
	if all := take(t, c, &in, 1); string(all[0].Packet) != "after" {
		t.Errorf("%+v", all)
	}
	in.Mark = nil
	take(t, c, &in, 2)
}
