package smpserver

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"parley/broker"
	"parley/broker/store"
	"parley/carrier/smp"
	"parley/parleytest"
)

// appends is a store that watches or disturbs Append.
type appends struct {
	*parleytest.MemStore
	mu     sync.Mutex
	before func()
	now    int
	most   int
}

func (a *appends) Append(ctx context.Context, q store.ID, version uint64, limit int, at time.Time, body []byte) (store.Item, error) {
	a.mu.Lock()
	before := a.before
	a.before = nil
	a.now++
	a.most = max(a.most, a.now)
	a.mu.Unlock()
	if before != nil {
		before()
	}
	for range 50 {
		runtime.Gosched()
	}
	it, err := a.MemStore.Append(ctx, q, version, limit, at, body)
	a.mu.Lock()
	a.now--
	a.mu.Unlock()
	return it, err
}

// heads is a store that acts in the middle of Head, once.
type heads struct {
	*parleytest.MemStore
	mu     sync.Mutex
	during func()
}

func (h *heads) Head(ctx context.Context, l store.Lease) (store.Item, error) {
	it, err := h.MemStore.Head(ctx, l)
	h.mu.Lock()
	f := h.during
	if err == nil {
		h.during = nil
	}
	h.mu.Unlock()
	if err == nil && f != nil {
		f()
	}
	return it, err
}

func onStore(t *testing.T, st store.Store) *bench {
	t.Helper()
	b := broker.New(st, broker.Options{})
	s, err := New(b, keys()[0], Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		b.Close()
	})
	return &bench{TB: t, Server: s, b: b}
}

// SENDs of one connection ID are carried out one after the other.
func TestOneSendAtATimeForEachID(t *testing.T) {
	st := &appends{MemStore: parleytest.NewStore()}
	d := onStore(t, st).device()
	_, sid := d.create()
	go func() {
		for range 50 {
			d.SendRaw(d.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("x")}, false))
		}
	}()
	for n := 0; n < 50; {
		if d.next().Verb == smp.OK {
			n++
		}
	}
	if st.most != 1 {
		t.Errorf("%d Appends to one queue at once", st.most)
	}
}

// A SEND that was allowed when it was looked up, and isn't any more when it
// comes to the disk, is decided anew.
func TestSendThatLosesTheRaceAgainstKey(t *testing.T) {
	st := &appends{MemStore: parleytest.NewStore()}
	b := onStore(t, st)
	d := b.device()
	rid, sid := d.create()
	var id store.ID
	copy(id[:], rid.Bytes())
	st.before = func() {
		if err := b.b.Secure(context.Background(), id, keyBytes(&keys()[2].PublicKey)); err != nil {
			t.Error(err)
		}
	}
	d.send(d.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("unsigned")}, false))
	d.want(sid, smp.ERR, smp.CodeAuth)
	if n, _ := st.Len(context.Background(), id); n != 0 {
		t.Error("the message is in the queue")
	}
}

// An answer that was there before a message could be delivered goes out before
// the message, also if it came while that was read from the disk.
func TestAnswersBeforeMessages(t *testing.T) {
	st := &heads{MemStore: parleytest.NewStore()}
	b := onStore(t, st)
	d, bob := b.device(), b.device()
	rid, sid := d.create()
	b.mu.Lock()
	conns := b.conns
	b.mu.Unlock()
	st.during = func() {
		for c := range conns {
			c.reject(rid, smp.CodeProhibited)
		}
	}
	bob.send(bob.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("x")}, false))
	d.want(rid, smp.ERR, smp.CodeProhibited)
	d.want(rid, smp.MSG, 0)
}

// A command that is on its way to the disk is answered before the end.
func TestShutdownWaitsForTheDisk(t *testing.T) {
	st := &appends{MemStore: parleytest.NewStore()}
	b := onStore(t, st)
	d, bob := b.device(), b.device()
	_, sid := d.create()
	begun, release := make(chan struct{}), make(chan struct{})
	st.before = func() { close(begun); <-release }
	bob.send(bob.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("x")}, false))
	<-begun
	down := make(chan error)
	go func() { down <- b.Shutdown(context.Background()) }()
	if _, err := d.NetConn().Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection is written to")
	}
	close(release)
	bob.want(sid, smp.OK, 0)
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// Shutdown ends in time, also when the disk doesn't answer and clients don't read.
func TestShutdownEndsInTime(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	c := b.telnet()
	c.Conn.Write([]byte("\n\nPING\n")) // whose answer nobody reads
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := b.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// Who has sent all he wants to say gets his answers (printf … | nc).
func TestHalfClosedConnectionIsAnswered(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	nc := dial(t, b.listen(true)).(*net.TCPConn)
	io.WriteString(nc, "\n\nPING\n\n\nPONG\n")
	nc.CloseWrite()
	nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if got, err := io.ReadAll(nc); err != nil || string(got) != "\n\nERR UNKNOWN\n\n\nERR UNKNOWN\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
