package smpserver

import (
	"context"
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
