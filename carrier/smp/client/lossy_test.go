package smpclient_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"parley"
	"parley/broker"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
	smpserver "parley/carrier/smp/server"
)

// A lossy connection breaks after some bytes in either direction.
type lossy struct {
	net.Conn
	left *atomic.Int64
}

func (c lossy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left.Add(-int64(n)) < 0 {
		c.Close()
		return 0, errors.New("the line broke")
	}
	return n, err
}

func (c lossy) Write(p []byte) (int, error) {
	if left := c.left.Add(-int64(len(p))); left < 0 {
		n, _ := c.Conn.Write(p[:max(0, len(p)+int(left))])
		c.Close()
		return n, errors.New("the line broke")
	}
	return c.Conn.Write(p)
}

// TestLossy: over lines that break every few messages, each packet arrives at
// least once and in order, and none is acknowledged before it was kept.
func TestLossy(t *testing.T) {
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	const seed = 2020
	rnd := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	dials := 0
	o := quick
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		dials++
		left := new(atomic.Int64)
		left.Store(5000 + rnd.Int64N(60000))
		return lossy{nc, left}, nil
	}
	ctx, good, bad := withTimeout(t), newClient(t, quick), newClient(t, o)
	packets, least := 100, 10
	if testing.Short() {
		packets, least = 30, 3
	}
	in, out := secured(t, ctx, good, r.address())
	got, _ := receive(t, bad, in)
	go func() {
		sender := newClient(t, o)
		for i := range packets {
			for {
				_, err := sender.Send(ctx, out, fmt.Appendf(nil, "%d", i))
				if err == nil {
					break
				}
				if !errors.Is(err, parley.ErrOffline) && !errors.Is(err, parley.ErrFull) {
					t.Errorf("packet %d: %v", i, err)
					return
				}
			}
		}
	}()
	last, twice := -1, 0
	for last < packets-1 {
		var i int
		fmt.Sscan(string(next(t, ctx, got).Packet), &i)
		switch {
		case i == last+1:
			last = i
		case i <= last:
			twice++
		default:
			t.Fatalf("packet %d came after %d", i, last)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d connections, %d packets more than once", dials, twice)
	if dials < least {
		t.Errorf("only %d connections: nothing was tested", dials)
	}
}

// counted counts the blocks that are written.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	if len(p) == smp.BlockSize {
		c.writes.Add(1)
	}
	return c.Conn.Write(p)
}

// TestBatches: after a reconnect all mailboxes are subscribed in few blocks, ten
// in each.
func TestBatches(t *testing.T) {
	const boxes = 16
	r := newRelay(t, false, broker.Options{}, smpserver.Options{})
	var conns []*atomic.Int64
	up := make(chan bool, 100)
	o := quick
	o.OnState = func(_ parley.Address, connected bool, _ error) { up <- connected }
	o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conns = append(conns, new(atomic.Int64))
		return counted{nc, conns[len(conns)-1]}, nil
	}
	ctx, c := withTimeout(t), newClient(t, o)
	srv := must(smp.ParseServer(string(r.address())))(t)
	raw := must(smpclient.Dial(ctx, srv, quick, nil))(t)
	defer func() { raw.Close() }()
	create := smp.Transmission{Verb: smp.CONN, Key: must(smp.MarshalKey(&relayKey().PublicKey))(t)}
	var sids []smp.ID
	var got []<-chan parley.Delivery
	for range boxes { // each with a Receive of its own
		rep := must(raw.Do(ctx, &create))(t)
		sids = append(sids, rep.Sender)
		ch, _ := receive(t, c, withKey(t, r.address(), rep.Recipient))
		got = append(got, ch)
	}
	for !<-up {
	}
	r.stop()
	for <-up {
	}
	r.start()
	for !<-up {
	}
	raw.Close()
	raw = must(smpclient.Dial(ctx, srv, quick, nil))(t)
	body := must(sealFor(t, []byte("\nx\n")))(t)
	for i, sid := range sids {
		if rep, err := raw.Do(ctx, &smp.Transmission{ID: sid, Verb: smp.SEND, Body: body}); err != nil || rep.Err() != nil {
			t.Fatal(rep, err)
		}
		next(t, ctx, got[i])
	}
	// Subscribed in 2 blocks if they were all queued at once; then an ACK each.
	if n := conns[len(conns)-1].Load(); n > boxes+5 {
		t.Errorf("%d blocks for %d SUBs and %d ACKs", n, boxes, boxes)
	}
}
