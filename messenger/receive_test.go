package messenger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/content"
	"parley/envelope"
)

// TestKeptWithinBounds: packets whose key is missing wait, the newest of them.
func TestKeptWithinBounds(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		// A line that has no keys, as before any agreement.
		err := a.m.tx(t.Context(), "test", func(tx *tx) error {
			_, device, err := tx.newContact("carol")
			if err != nil {
				return err
			}
			_, err = tx.newLine(device, parley.Ratchet, false, acceptor, connecting, nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		put := func(n, size int) {
			for i := range n {
				packet := bytes.Repeat([]byte{0x13, byte(i), byte(i >> 8)}, 3328*size/3+1)[:3328*size]
				err := a.m.tx(t.Context(), "test", func(tx *tx) error {
					packet = envelope.Marshal(envelope.Envelope{STP: parley.Ratchet, Payload: packet})
					d := sha256.Sum256(packet)
					tx.poke(workInbox)
					tx.then(func() { a.m.load(1) })
					return tx.exec("INSERT INTO inbox (line, path, digest, packet, came, state) VALUES (2, 99, ?, ?, 0, 'new')", d[:], packet)
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			w.until("they are looked at", func() bool {
				var left int
				return a.p.DB().QueryRow("SELECT count(*) FROM inbox WHERE state = 'new'").Scan(&left) == nil && left == 0
			})
		}
		put(maxKept+10, 1)
		if s, err := a.m.Status(t.Context()); err != nil || s.Waiting != maxKept || s.Dropped != 10 {
			t.Fatal(s, err)
		}
		put(8, 200)
		var size int
		if err := a.p.DB().QueryRow("SELECT sum(length(packet)) FROM inbox").Scan(&size); err != nil || size > maxKeptBytes || size < maxKeptBytes/2 {
			t.Fatal(size, err)
		}
		// They disturb nobody, and survive a restart.
		b.wait(b.send("alice", "hello").ID, AtDevice)
		before, _ := a.m.Status(t.Context())
		a.stop()
		a.start()
		w.until("they wait again", func() bool {
			s, err := a.m.Status(t.Context())
			return err == nil && s.Waiting == before.Waiting
		})
		if a.m.backlog != 0 {
			t.Fatal("backlog", a.m.backlog)
		}
	})
}

// TestPacketNeverChooses: a packet that names another transport is dropped, even
// one that this build speaks.
func TestPacketNeverChooses(t *testing.T) {
	inBubble(t, 2, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		// A genuine packet under another name, before it comes under its own.
		w.net.Down("one", true)
		id := b.send("alice", "genuine").ID
		var packet []byte
		w.until("it is sealed", func() bool {
			return b.p.DB().QueryRow("SELECT packet FROM packets WHERE kind = 'message'").Scan(&packet) == nil
		})
		e, err := envelope.Parse(packet)
		if err != nil {
			t.Fatal(err)
		}
		e.STP = parley.NES
		for _, p := range [][]byte{
			envelope.Marshal(e),
			envelope.Marshal(envelope.Envelope{STP: parley.SMPBare, Payload: []byte("\nfree text\n")}),
			envelope.Marshal(envelope.Envelope{STP: parley.STP{Type: parley.Ratchet.Type, Version: 2}, Payload: []byte("x")}),
		} {
			d := parley.Delivery{Packet: p}
			if err := a.m.keep(t.Context(), 1, d); err != nil {
				t.Fatal(err)
			}
		}
		w.until("they are dropped", func() bool { s, err := a.m.Status(t.Context()); return err == nil && s.Dropped == 3 })
		if got := a.texts("bob"); len(got) != 0 {
			t.Fatal(got)
		}
		w.net.Down("one", false)
		b.wait(id, AtDevice)
	})
}

// TestPieces: pieces in any order, repeated, of two cuts of one packet.
func TestPieces(t *testing.T) {
	inBubble(t, 3, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		w.net.Down("one", true)
		id := b.send("alice", strings.Repeat("long ", 3000)).ID
		var packet []byte
		w.until("it is sealed", func() bool {
			return b.p.DB().QueryRow("SELECT packet FROM packets WHERE kind = 'message'").Scan(&packet) == nil
		})
		var pieces [][]byte
		for _, most := range []int{3000, 2000} {
			p, err := envelope.Split(packet, most)
			if err != nil {
				t.Fatal(err)
			}
			pieces = append(pieces, p[1:]...) // none is whole
		}
		slices.Reverse(pieces)
		for range 2 {
			for _, p := range pieces {
				if err := a.m.keep(t.Context(), 1, parley.Delivery{Packet: p}); err != nil {
					t.Fatal(err)
				}
			}
		}
		first, _ := envelope.Split(packet, 2000)
		for range 3 {
			if err := a.m.keep(t.Context(), 1, parley.Delivery{Packet: first[0]}); err != nil {
				t.Fatal(err)
			}
		}
		w.until("it is joined", func() bool { return len(a.texts("bob")) == 1 })
		w.net.Down("one", false)
		b.wait(id, AtDevice)
		<-time.After(time.Minute)
		var n int
		if err := a.p.DB().QueryRow("SELECT count(*) FROM fragments").Scan(&n); err != nil || n != 0 {
			t.Fatal(n, "pieces are left", err)
		}
		if got := a.texts("bob"); len(got) != 1 {
			t.Fatal(len(got))
		}
	})
}

// TestReceipts: each level says what it should and no more.
func TestReceipts(t *testing.T) {
	inBubble(t, 4, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		for _, c := range []struct {
			level string
			want  State
		}{{"none", AtRelay}, {"delivered", AtDevice}, {"read", Read}} {
			if err := b.m.SetReceipts(t.Context(), "alice", c.level); err != nil {
				t.Fatal(err)
			}
			id := a.send("bob", c.level).ID
			ctx, stop := context.WithCancel(t.Context())
			b.m.Listen(ctx, "alice", func(Message) error { stop(); return nil })
			<-time.After(time.Minute)
			if m, err := a.m.Message(t.Context(), id); err != nil || m.State != c.want {
				t.Errorf("%s: %+v %v", c.level, m, err)
			}
			// A later word of less moves nothing back.
			err := a.m.tx(t.Context(), "test", func(tx *tx) error {
				m, err := tx.lookup(id)
				if err == nil {
					err = tx.advance(m.Seq, AtRelay)
				}
				return err
			})
			if m, _ := a.m.Message(t.Context(), id); err != nil || m.State != c.want {
				t.Errorf("%s: it went back: %+v %v", c.level, m, err)
			}
		}
		if err := b.m.SetReceipts(t.Context(), "alice", "sometimes"); !errors.Is(err, ErrState) {
			t.Fatal(err)
		}
		// A receipt with another hash, of another conversation, or of nothing.
		if err := b.m.SetReceipts(t.Context(), "alice", "none"); err != nil {
			t.Fatal(err)
		}
		id := a.send("bob", "quiet").ID
		a.wait(id, AtRelay)
		msg, _ := a.m.Message(t.Context(), id)
		err := a.m.tx(t.Context(), "test", func(tx *tx) error {
			l, err := tx.line(1)
			if err != nil {
				return err
			}
			var number []byte
			if err := tx.row("SELECT id FROM timeline WHERE seq = ?", msg.Seq)(&number); err != nil {
				return err
			}
			bad := content.ReceiptItem{ID: [16]byte(number), SHA256: sha256.Sum256([]byte("loud"))}
			none := content.ReceiptItem{ID: [16]byte{9}, SHA256: sha256.Sum256([]byte("quiet"))}
			return tx.receipted(l, content.Receipt{Kind: content.Read, Items: []content.ReceiptItem{bad, none}})
		})
		if m, _ := a.m.Message(t.Context(), id); err != nil || m.State != AtRelay {
			t.Fatalf("%+v %v", m, err)
		}
		// What comes again is receipted again: its first receipt may be lost.
		if err := b.m.SetReceipts(t.Context(), "alice", "delivered"); err != nil {
			t.Fatal(err)
		}
		if _, err := a.m.Resend(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		a.wait(id, AtDevice)
	})
}

// TestReceiptsAreMerged: many receipts travel in few packets.
func TestReceiptsAreMerged(t *testing.T) {
	inBubble(t, 5, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		b.stop()
		last := ""
		for i := range 60 {
			last = a.send("bob", fmt.Sprint(i)).ID
		}
		a.wait(last, AtRelay)
		before := w.net.Sent("one")
		w.net.Down("one", true)
		b.start()
		w.until("bob has them", func() bool { return len(b.texts("alice")) == 60 })
		w.net.Down("one", false)
		a.wait(last, AtDevice)
		if n := w.net.Sent("one") - before; n > window+3 {
			t.Fatal(n, "packets for 60 receipts")
		}
	})
}

// TestListen: two listeners share the messages; one that fails has shown nothing.
func TestListen(t *testing.T) {
	inBubble(t, 6, func(w *world) {
		t := w.t
		a, b, c := w.person("alice", "one"), w.person("bob", "two"), w.person("carol", "three")
		w.connect(a, b)
		w.connect(a, c)
		for i := range 10 {
			b.wait(b.send("alice", fmt.Sprint("b", i)).ID, AtDevice)
		}
		c.wait(c.send("alice", "c0").ID, AtDevice)
		if got := a.contact("bob").Unread; got != 10 {
			t.Fatal(got)
		}
		broken := errors.New("the terminal is gone")
		var got []string
		err := a.m.Listen(t.Context(), "", func(m Message) error {
			if len(got) == 4 {
				return broken
			}
			got = append(got, m.Text)
			return nil
		})
		if !errors.Is(err, broken) || strings.Join(got, "") != "b0b1b2b3" {
			t.Fatal(got, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		seen := make(chan string, 100)
		ended := make(chan error, 3)
		for _, who := range []string{"bob", "", "carol"} {
			go func() {
				ended <- a.m.Listen(ctx, who, func(m Message) error { seen <- m.Text; <-time.After(time.Second); return nil })
			}()
		}
		for i := range 5 {
			<-time.After(time.Second)
			b.send("alice", fmt.Sprint("more", i))
		}
		<-time.After(time.Minute)
		stop()
		for range 3 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		close(seen)
		all := map[string]int{}
		for s := range seen {
			all[s]++
		}
		if len(all) != 12 {
			t.Fatal(all)
		}
		for s, n := range all {
			if n != 1 {
				t.Errorf("%s was shown %d times", s, n)
			}
		}
		if err := a.m.Listen(t.Context(), "nobody", nil); !errors.Is(err, ErrNoContact) {
			t.Fatal(err)
		}
	})
}

// TestWatch: states come in order, and nothing that happens is missed.
func TestWatch(t *testing.T) {
	inBubble(t, 7, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		ctx, stop := context.WithCancel(t.Context())
		var states []State
		ended := make(chan error)
		started := make(chan struct{})
		go func() {
			s := a.m.fan.subscribe()
			s.close()
			close(started)
			ended <- a.m.Watch(ctx, func(c Change) error {
				if c.Message != nil && (len(states) == 0 || states[len(states)-1] != c.Message.State) {
					states = append(states, c.Message.State)
				}
				return nil
			})
		}()
		<-started
		<-time.After(time.Second)
		id := a.send("bob", "watched").ID
		a.wait(id, AtDevice)
		inner, enough := context.WithCancel(t.Context())
		b.m.Listen(inner, "", func(Message) error { enough(); return nil })
		a.wait(id, Read)
		stop()
		<-ended
		if fmt.Sprint(states) != "[queued relay device read]" {
			t.Fatal(states)
		}
	})
}

func TestFanoutIsBounded(t *testing.T) {
	var f fanout
	s := f.subscribe()
	for i := range 10 * crowded {
		f.publish([]Change{{Message: &Message{Seq: int64(i % (2 * crowded)), Tries: i}}})
	}
	got, err := s.next(t.Context(), nil)
	if err != nil || len(got) > 2*crowded {
		t.Fatal(len(got), err)
	}
	latest := map[int64]int{}
	for _, c := range got {
		latest[c.Message.Seq] = c.Message.Tries
	}
	for seq, tries := range latest {
		if want := 8*crowded + int(seq); tries != want {
			t.Fatalf("message %d: %d, not %d", seq, tries, want)
		}
	}
	s.close()
	f.publish([]Change{{Message: &Message{}}})
	if len(s.queue) != 0 {
		t.Fatal("a closed subscription still grows")
	}
}

// TestBackpressure: a mailbox is not read on when too much waits.
func TestBackpressure(t *testing.T) {
	m := &Messenger{}
	m.load(maxBacklog)
	ctx, stop := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- m.makeRoom(ctx) }()
	stop()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	go func() { result <- m.makeRoom(t.Context()) }()
	m.unload()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

// gated opens nothing while it is shut, as a transport that waits for a key.
type gated struct {
	parley.Introducer
	shut *atomic.Bool
}

func (g gated) Open(ctx context.Context, c *parley.Conversation, packet []byte) (*parley.Message, error) {
	if g.shut.Load() {
		return nil, parley.ErrNoKey
	}
	return g.Introducer.Open(ctx, c, packet)
}

// TestKeptIsTriedAgain: what could not be opened is, once the line moves on.
func TestKeptIsTriedAgain(t *testing.T) {
	inBubble(t, 8, func(w *world) {
		t := w.t
		a, b := w.person("alice", "one"), w.person("bob", "two")
		w.connect(a, b)
		a.stop()
		var shut atomic.Bool
		a.change = func(o *Options) {
			var r parley.Registry
			r.Carrier("faulty", w.net)
			r.Transport(parley.Ratchet, gated{o.Registry.Secure[parley.Ratchet].(parley.Introducer), &shut})
			o.Registry = &r
		}
		a.start()
		shut.Store(true)
		ids := []string{b.send("alice", "one").ID, b.send("alice", "two").ID}
		w.until("they wait", func() bool { s, err := a.m.Status(t.Context()); return err == nil && s.Waiting == 2 })
		shut.Store(false)
		ids = append(ids, b.send("alice", "three").ID)
		for _, id := range ids {
			b.wait(id, AtDevice)
		}
		got := a.texts("bob")
		slices.Sort(got)
		if strings.Join(got, " ") != "one three two" {
			t.Fatal(got)
		}
	})
}
