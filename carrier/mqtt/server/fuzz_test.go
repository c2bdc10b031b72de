package server

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzServerLoop sends anything as a connection, after a CONNECT of either version
// or without, to a broker with a subscriber and a session that waits. Whatever it
// is, the broker goes on and ends in order.
func FuzzServerLoop(f *testing.F) {
	pub := func(v byte, m msg) []byte {
		d := delivery{qos: m.qos, id: m.id, retain: m.retain}
		return appendPublish(nil, v, &body{topic: m.topic, payload: []byte(m.payload)}, &d)
	}
	f.Add(byte(5), cat(pub(5, msg{topic: "a", qos: 2, id: 1, payload: "x", retain: true}), 0x62, 2, 0, 1, 0xc0, 0, 0xe0, 0))
	f.Add(byte(4), cat(0x82, 9, 0, 1, "a/+/#"[:3], 2, pub(4, msg{topic: "a/b", qos: 1, id: 7}), 0x40, 2, 0, 1, 0xa2, 7, 0, 2, "a/+"))
	f.Add(byte(0), cat(connectBytes(5, "a"), connectBytes(5, "b")))
	f.Add(byte(5), cat(0x30, 8, "a", 3, propAlias, 0, 1, 0x30, 6, "", 3, propAlias, 0, 1))
	f.Add(byte(5), cat(0x82, 14, 0, 1, 2, propSubscriptionID, 5, "a", 0x2d, "#", 1))
	f.Fuzz(func(t *testing.T, v byte, b []byte) {
		if len(b) > 4096 {
			return
		}
		s, err := New(Options{Dir: "db", FS: vfs.NewMem(), MemTable: 64 << 10,
			Limits: Limits{Packet: 8192, PacketTime: 100 * time.Millisecond, Connect: 100 * time.Millisecond, QueueMessages: 4, RetainedMessages: 4, Subscriptions: 4, Inflight: 3}})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		s.accept(theirs)
		go io.Copy(io.Discard, ours)
		ours.SetDeadline(time.Now().Add(patience))
		if v == v311 || v == v5 {
			ours.Write(connectBytes(v, "fuzz"))
		}
		ours.Write(b)
		ours.Close()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		h := s.hub.Load()
		queued := 0
		for _, x := range h.sessions {
			if x.conn != nil {
				t.Error("a session has a connection that is gone")
			}
			n := 0
			for e := x.head; e != nil; e = e.next {
				n++
			}
			if n != len(x.byID) {
				t.Errorf("%d entries in the list, %d by identifier", n, len(x.byID))
			}
			queued += n
		}
		if queued != h.queued || h.pinned != 0 {
			t.Errorf("%d entries, counted %d; %d bytes pinned", queued, h.queued, h.pinned)
		}
	})
}
