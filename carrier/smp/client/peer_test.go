package smpclient_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"parley"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
)

// A peer is a relay that does what a test wants, to see what the client makes of
// relays that are slow, silent or wrong. It lives in a synctest bubble.
type peer struct {
	t      *testing.T
	id     *smp.Identity
	say    func(c *smp.Conn, t smp.Transmission) // answers one command
	refuse bool                                  // connections

	mu    sync.Mutex
	dials []time.Time
	wg    sync.WaitGroup
}

func newPeer(t *testing.T, say func(*smp.Conn, smp.Transmission)) *peer {
	return &peer{t: t, id: must(smp.NewIdentity(relayKey()))(t), say: say}
}

func (p *peer) address() parley.Address {
	return parley.Address(smp.Server{Host: "relay.example", Port: 5223, KeyHash: p.id.KeyHash()}.String())
}

func (p *peer) dialed() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.dials...)
}

func (p *peer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dials = append(p.dials, time.Now())
	if p.refuse {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	p.wg.Go(func() {
		defer b.Close()
		c, err := p.id.Accept(b)
		for err == nil {
			var t smp.Transmission
			if err = c.Next(&t); err == nil || errors.As(err, new(*smp.SyntaxError)) {
				err = nil
				p.say(c, t.Clone())
			}
		}
	})
	return a, nil
}

// inBubble runs f with a client of the peer.
func inBubble(t *testing.T, say func(*smp.Conn, smp.Transmission), o smpclient.Options, f func(t *testing.T, p *peer, c *smpclient.Client)) {
	relayKey() // outside
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, say)
		o.Dial = p.dial
		c := smpclient.New(o)
		f(t, p, c)
		c.Close()
		p.wg.Wait()
	})
}

var (
	rid = must(smp.MakeID([]byte("recipient0123456")))
	sid = must(smp.MakeID([]byte("sender0123456789")))
)

func ids(t testing.TB) *smp.Transmission {
	return &smp.Transmission{Verb: smp.IDS, Recipient: rid(t), Sender: sid(t)}
}

// Never giving up, and never in a hurry.
func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		name string
		peer func(p *peer)
		most int              // attempts in an hour
		soon [2]time.Duration // the second one
		err  func(error) bool
	}{
		{"out of reach", func(p *peer) { p.refuse = true }, 130, [2]time.Duration{1, time.Second}, func(err error) bool { return errors.Is(err, parley.ErrOffline) }},
		{"another key", nil, 130, [2]time.Duration{30 * time.Second, 2 * time.Minute}, func(err error) bool {
			var k *smpclient.ServerKeyError
			return errors.As(err, &k) && errors.Is(err, parley.ErrOffline) && errors.Is(err, smp.ErrServerKey)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			states := 0
			o := smpclient.Options{OnState: func(_ parley.Address, up bool, err error) {
				if err == nil && !up {
					return // closed by us
				}
				if states++; up || !c.err(err) {
					t.Errorf("%v %v", up, err)
				}
			}}
			inBubble(t, nil, o, func(t *testing.T, p *peer, cl *smpclient.Client) {
				at := p.address()
				if c.peer != nil {
					c.peer(p)
				} else {
					at = parley.Address(smp.Server{Host: "relay.example", Port: 5223, KeyHash: smp.KeyHash{1}}.String())
				}
				in := withKey(t, at, rid(t))
				ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
				defer cancel()
				err := cl.Receive(ctx, []parley.Endpoint{in}, nil)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Receive: %v", err)
				}
				d := p.dialed()
				if len(d) < 30 || len(d) > c.most || states < len(d)-1 {
					t.Errorf("%d attempts in an hour, %d told", len(d), states)
				}
				if wait := d[1].Sub(d[0]); wait > c.soon[1] || wait < c.soon[0] {
					t.Errorf("the second attempt after %v", wait)
				}
				// A Send meanwhile says why at once, and does not dial by itself.
				out := must(cl.Join(context.Background(), mailboxAt(t, at)))(t)
				start := time.Now()
				if _, err := cl.Send(context.Background(), out, nil); !c.err(err) || time.Since(start) > time.Second {
					t.Errorf("Send: %v after %v", err, time.Since(start))
				}
			})
		})
	}
}

// mailboxAt makes the address of a mailbox that a relay there could have.
func mailboxAt(t testing.TB, at parley.Address) parley.Address {
	srv := must(smp.ParseServer(string(at)))(t)
	return smpclient.Mailbox{Server: srv, Sender: sid(t), EK: &relayKey().PublicKey}.Address()
}

// A relay that falls silent is found out, and left.
func TestSilentRelay(t *testing.T) {
	var silent atomic.Bool
	var probes atomic.Int64
	say := func(c *smp.Conn, tr smp.Transmission) {
		switch {
		case tr.Verb == smp.CONN:
			c.Send(ids(t))
		case silent.Load():
		case tr.ID == smp.ID{}:
			if probes.Add(1); tr.Verb != smp.SUB || len(tr.Signature) > 0 {
				t.Errorf("the probe is %+v", tr)
			}
			c.Send(&smp.Transmission{Verb: smp.ERR, Code: smp.CodeNoCredentials})
		default:
			c.Send(&smp.Transmission{ID: tr.ID, Verb: smp.OK})
		}
	}
	inBubble(t, say, smpclient.Options{}, func(t *testing.T, p *peer, c *smpclient.Client) {
		in := must(c.Claim(context.Background(), p.address()))(t)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Receive(ctx, []parley.Endpoint{in}, nil) }()
		<-time.After(time.Hour)
		synctest.Wait()
		if n := len(p.dialed()); n != 1 || probes.Load() < 55 || probes.Load() > 61 {
			t.Errorf("%d connections and %d probes in a quiet hour", n, probes.Load())
		}
		out := must(c.Join(context.Background(), in.Address))(t)
		silent.Store(true)
		<-time.After(2 * time.Minute)
		if n := len(p.dialed()); n < 2 {
			t.Error("the silent relay was not left")
		}
		start := time.Now()
		if _, err := c.Send(context.Background(), out, []byte("x")); !errors.Is(err, parley.ErrOffline) {
			t.Errorf("Send to a silent relay: %v", err)
		}
		if d := time.Since(start); d > 31*time.Second {
			t.Errorf("it took %v to find out", d)
		}
		silent.Store(false)
		<-time.After(5 * time.Minute)
		if _, err := c.Send(context.Background(), out, []byte("x")); err != nil {
			t.Errorf("when it talks again: %v", err)
		}
		cancel()
		<-done
	})
}

// Nothing is sent for a while: the connection goes, and comes back when needed.
func TestLinger(t *testing.T) {
	say := func(c *smp.Conn, tr smp.Transmission) {
		if tr.Verb == smp.CONN {
			c.Send(ids(t))
		} else {
			c.Send(&smp.Transmission{ID: tr.ID, Verb: smp.OK})
		}
	}
	downs := 0
	o := smpclient.Options{OnState: func(_ parley.Address, up bool, err error) {
		if !up {
			if downs++; err != nil {
				t.Errorf("leaving an unused relay: %v", err)
			}
		}
	}}
	inBubble(t, say, o, func(t *testing.T, p *peer, c *smpclient.Client) {
		in := must(c.Claim(context.Background(), p.address()))(t)
		out := must(c.Join(context.Background(), in.Address))(t)
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if downs != 1 {
			t.Errorf("the unused connection went %d times", downs)
		}
		for range 2 {
			if _, err := c.Send(context.Background(), out, nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(p.dialed()); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// An ACK deletes whatever the relay delivered last. So none may go out for a
// message that came before SUB was answered: the one after it could be lost.
func TestNoStrayAck(t *testing.T) {
	var acks, subs int
	stray, good := must(sealFor(t, []byte("\nstray\n")))(t), must(sealFor(t, []byte("\ngood\n")))(t)
	ok := &smp.Transmission{ID: rid(t), Verb: smp.OK}
	say := func(c *smp.Conn, tr smp.Transmission) {
		switch tr.Verb {
		case smp.SUB:
			subs++
			c.Send(&smp.Transmission{ID: rid(t), Verb: smp.MSG, Body: stray}, ok, &smp.Transmission{ID: rid(t), Verb: smp.MSG, Body: good})
		case smp.ACK:
			acks++
			c.Send(ok)
		}
	}
	inBubble(t, say, smpclient.Options{}, func(t *testing.T, p *peer, c *smpclient.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		kept := 0
		c.Receive(ctx, []parley.Endpoint{withKey(t, p.address(), rid(t))}, func(_ int, d parley.Delivery) error {
			if kept++; string(d.Packet) != "good" {
				t.Errorf("kept %q", d.Packet)
			}
			return nil
		})
		if subs != 1 || kept != 1 || acks != 1 {
			t.Errorf("%d SUBs, %d kept, %d ACKs", subs, kept, acks)
		}
	})
}

// Nor for one that was being kept when another subscriber took the mailbox over.
func TestNoAckAfterEnd(t *testing.T) {
	var acks, subs int
	sealed := must(sealFor(t, []byte("\nhello\n")))(t)
	var conn *smp.Conn
	say := func(c *smp.Conn, tr smp.Transmission) {
		ok := &smp.Transmission{ID: tr.ID, Verb: smp.OK}
		switch {
		case tr.ID == smp.ID{}:
			c.Send(&smp.Transmission{Verb: smp.ERR, Code: smp.CodeNoCredentials})
		case tr.Verb == smp.SUB:
			subs++
			conn = c
			c.Send(ok, &smp.Transmission{ID: tr.ID, Verb: smp.MSG, Body: sealed})
		case tr.Verb == smp.ACK:
			acks++
			c.Send(ok)
		}
	}
	var told []error
	o := smpclient.Options{OnMailbox: func(_ parley.Endpoint, err error) { told = append(told, err) }}
	inBubble(t, say, o, func(t *testing.T, p *peer, c *smpclient.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
		defer cancel()
		kept := 0
		c.Receive(ctx, []parley.Endpoint{withKey(t, p.address(), rid(t))}, func(_ int, d parley.Delivery) error {
			if kept++; kept == 1 {
				conn.Send(&smp.Transmission{ID: rid(t), Verb: smp.END})
				synctest.Wait()
			}
			return nil
		})
		if subs != 2 || kept != 2 || acks != 1 || len(told) != 1 || told[0] != smpclient.ErrTakenOver {
			t.Errorf("%d SUBs, %d kept, %d ACKs, told %v", subs, kept, acks, told)
		}
	})
}

// keep that fails is tried again, not in a hurry; the relay hears nothing.
func TestKeepFails(t *testing.T) {
	acks := 0
	sealed := must(sealFor(t, []byte("\nhello\n")))(t)
	say := func(c *smp.Conn, tr smp.Transmission) {
		if tr.Verb == smp.ACK {
			acks++
		}
		c.Send(&smp.Transmission{ID: tr.ID, Verb: smp.OK})
		if tr.Verb == smp.SUB && tr.ID != (smp.ID{}) {
			c.Send(&smp.Transmission{ID: tr.ID, Verb: smp.MSG, Body: sealed})
		}
	}
	inBubble(t, say, smpclient.Options{}, func(t *testing.T, p *peer, c *smpclient.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		calls := 0
		c.Receive(ctx, []parley.Endpoint{withKey(t, p.address(), rid(t))}, func(int, parley.Delivery) error {
			if calls++; acks > 0 {
				t.Error("acknowledged before it was kept")
			}
			return errors.New("disk full")
		})
		if calls < 30 || calls > 130 || acks != 0 {
			t.Errorf("%d calls of keep in an hour, %d ACKs", calls, acks)
		}
	})
}

// When ACK fails at the relay, the client subscribes again after a while: the
// relay delivers no more until then.
func TestAckFails(t *testing.T) {
	sealed := must(sealFor(t, []byte("\nhello\n")))(t)
	acks, subs := 0, 0
	say := func(c *smp.Conn, tr smp.Transmission) {
		ok := &smp.Transmission{ID: tr.ID, Verb: smp.OK}
		switch tr.Verb {
		case smp.ACK:
			if acks++; acks < 3 {
				ok = &smp.Transmission{ID: tr.ID, Verb: smp.ERR, Code: smp.CodeInternal}
			}
			c.Send(ok)
		case smp.SUB:
			if c.Send(ok); tr.ID == rid(t) {
				subs++
				c.Send(&smp.Transmission{ID: tr.ID, Verb: smp.MSG, Body: sealed})
			}
		}
	}
	inBubble(t, say, smpclient.Options{}, func(t *testing.T, p *peer, c *smpclient.Client) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
		defer cancel()
		kept := 0
		c.Receive(ctx, []parley.Endpoint{withKey(t, p.address(), rid(t))}, func(int, parley.Delivery) error { kept++; return nil })
		if acks != 3 || subs != 3 || kept != 3 {
			t.Errorf("%d ACKs, %d SUBs, %d kept; want 3 of each", acks, subs, kept)
		}
	})
}

// Relays that say what nobody asked are left; Send does not take their word.
func TestWrongReplies(t *testing.T) {
	for name, reply := range map[string]*smp.Transmission{
		"another ID":  {ID: rid(t), Verb: smp.OK},
		"a command":   {ID: sid(t), Verb: smp.SUB},
		"IDS unasked": ids(t),
	} {
		say := func(c *smp.Conn, tr smp.Transmission) { c.Send(reply) }
		inBubble(t, say, smpclient.Options{}, func(t *testing.T, p *peer, c *smpclient.Client) {
			out := must(c.Join(context.Background(), mailboxAt(t, p.address())))(t)
			if _, err := c.Send(context.Background(), out, nil); !errors.Is(err, parley.ErrOffline) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
