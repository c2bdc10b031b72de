package smpserver

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"parley/broker"
	"parley/carrier/smp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What an idle encrypted connection costs in heap and stack, garbage not counted.
// The client's end in this test is a bare socket.
func TestIdleConnectionIsSmall(t *testing.T) {
	const n = 400
	b := newBench(t, Options{HostHandshakes: n}, broker.Options{})
	addr := b.listen(false)
	idle := func(n int) (open []net.Conn) {
		for range n {
			d := newDevice(t, dial(t, addr), b.KeyHash())
			d.create()
			open = append(open, d.NetConn())
		}
		return open
	}
	idle(20) // pools, tables
	before := heap()
	bare := make([]net.Conn, 0, n)
	bare = append(bare, idle(n)...)
	each := (int64(heap()) - int64(before)) / n
	t.Logf("%d bytes for each connection with a subscribed queue, client's end and stored queue included", each)
	if each > 25_000 {
		t.Errorf("%d bytes for each idle connection", each)
	}
	for _, nc := range bare {
		nc.Close()
	}
}

func BenchmarkSendReceiveAck(b *testing.B) {
	x := newBench(b, Options{}, broker.Options{})
	addr := x.listen(false)
	alice, bob := newDevice(b, dial(b, addr), x.KeyHash()), newDevice(b, dial(b, addr), x.KeyHash())
	rid, sid := alice.create()
	send := bob.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: make([]byte, 1000)}, false)
	ack := alice.raw(smp.Transmission{Verb: smp.ACK, ID: rid}, true)
	b.ReportAllocs()
	for b.Loop() {
		bob.send(send)
		bob.want(sid, smp.OK, 0)
		alice.want(rid, smp.MSG, 0)
		alice.send(ack)
		alice.want(rid, smp.OK, 0)
	}
}
