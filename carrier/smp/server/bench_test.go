package smpserver

import (
	"context"
	"sync"
	"testing"

	"parley/broker"
	"parley/broker/store/pebblestore"
	"parley/carrier/smp"
)

// BenchmarkDurable is SEND, MSG and ACK over the embedded store with 64 secured
// queues at once, one message under way on each, client's end included.
func BenchmarkDurable(b *testing.B) {
	st, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	hub := broker.New(st, broker.Options{})
	defer hub.Close()
	s, err := New(hub, keys()[0], Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	x := &bench{TB: b, Server: s, b: hub}
	addr := x.listen(false)
	const conns = 64
	var lives [conns]func()
	for i := range lives {
		d := newDevice(b, dial(b, addr), x.KeyHash())
		rid, sid := d.create()
		send := d.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: make([]byte, 1000)}, false)
		ack := d.raw(smp.Transmission{Verb: smp.ACK, ID: rid}, true)
		der, _ := smp.MarshalKey(&d.key.PublicKey)
		d.send(d.raw(smp.Transmission{Verb: smp.KEY, ID: rid, Key: der}, true))
		d.want(rid, smp.OK, 0)
		send = d.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: make([]byte, 1000)}, true)
		lives[i] = func() {
			d.SendRaw(send)
			d.next()
			d.next()
			d.SendRaw(ack)
			d.next()
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var g sync.WaitGroup
	for i := range lives {
		g.Go(func() {
			for range b.N/conns + 1 {
				lives[i]()
			}
		})
	}
	g.Wait()
}
