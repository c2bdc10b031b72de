package parleytest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"parley"
)

func testGuarantees(t *testing.T, f SecureFixture) {
	a, b := f.Lines(t)
	g := a.Transport.Guarantees()
	switch {
	case g == 0:
		t.Error("promises nothing at all")
	case g != b.Transport.Guarantees():
		t.Error("the two ends promise different things")
	case g&parley.Deniable != 0 && g&parley.NonRepudiable != 0:
		t.Error("deniable and non-repudiable exclude each other")
	}
}

// passMessage seals at one end and opens at the other.
func passMessage(t testing.TB, from, to *SecureLine, m *parley.Message) (packet []byte, got *parley.Message) {
	t.Helper()
	packet = mustSeal(t, from, m)
	got, err := to.Open(packet)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return packet, got
}

func mustSeal(t testing.TB, l *SecureLine, m *parley.Message) []byte {
	t.Helper()
	p, err := l.Seal(m)
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return p
}

// compareMessage checks what arrived against what was sent.
func compareMessage(t testing.TB, f SecureFixture, to *SecureLine, got, want *parley.Message) {
	t.Helper()
	if got == nil {
		t.Error("Open returned no message")
		return
	}
	if !bytes.Equal(got.Body, want.Body) {
		t.Errorf("body of %d bytes differs from the one sent, of %d", len(got.Body), len(want.Body))
	}
	if f.Fields&FieldID != 0 && got.ID != want.ID {
		t.Errorf("ID %x, sent %x", got.ID, want.ID)
	}
	if f.Fields&FieldGroup != 0 && !bytes.Equal(got.Group, want.Group) {
		t.Errorf("group %q, sent %q", got.Group, want.Group)
	}
	if f.Fields&FieldAMP != 0 && got.AMP != want.AMP {
		t.Errorf("AMP %v, sent %v", got.AMP, want.AMP)
	}
	if f.Fields&FieldSeq != 0 && got.Seq != want.Seq {
		t.Errorf("seq %d, sent %d", got.Seq, want.Seq)
	}
	if f.Fields&FieldSent != 0 && !got.Sent.Equal(want.Sent) {
		t.Errorf("sent %v, was %v", got.Sent, want.Sent)
	}
	if f.Fields&FieldSent == 0 && !got.Sent.IsZero() && !got.Sent.Equal(to.Conversation.Now) {
		t.Errorf("sent %v, which nobody told", got.Sent)
	}
	if got.From != "" && got.From != to.Conversation.Peers[0] {
		t.Errorf("from %q, peer is %q", got.From, to.Conversation.Peers[0])
	}
	if got.From == "" && to.Transport.Guarantees()&parley.Authentic != 0 {
		t.Error("authentic, but From is empty")
	}
}

func testRoundTrip(t *testing.T, f SecureFixture) {
	a, b := f.Lines(t)
	once := map[string]bool{}
	for i, n := range []int{0, 1, 16, 100, f.MaxBody / 2, f.MaxBody - 1, f.MaxBody, 5, 6, 7} {
		for _, way := range [][2]*SecureLine{{a, b}, {b, a}} {
			m, want := TestMessage(i, n), TestMessage(i, n)
			packet, got := passMessage(t, way[0], way[1], m)
			compareMessage(t, f, way[1], got, want)
			if m.ID != want.ID || !bytes.Equal(m.Body, want.Body) || m.AMP != want.AMP {
				t.Error("Seal changed the message")
			}
			if n >= 16 && a.Transport.Guarantees()&(parley.ForwardSecret|parley.Authentic) != 0 && bytes.Contains(packet, want.Body) {
				t.Error("the packet shows the body")
			}
			if f.Counts && (len(got.Once) == 0 || once[string(got.Once)]) {
				t.Errorf("Once %x is empty or came before", got.Once)
			}
			once[string(got.Once)] = true
		}
	}
}

func testOrder(t *testing.T, f SecureFixture) {
	a, b := f.Lines(t)
	const n = 8
	var packets [][]byte
	for i := range n {
		packets = append(packets, mustSeal(t, a, TestMessage(i, 40)))
	}
	order := []int{0, 1, 2, 3, 4, 5, 6, 7}
	if f.Unordered {
		order = []int{5, 0, 7, 1, 6, 2, 4, 3}
	}
	for i, k := range order {
		got, err := b.Open(packets[k])
		if err != nil {
			t.Fatalf("packet %d, opened as number %d: %v", k, i, err)
		}
		compareMessage(t, f, b, got, TestMessage(k, 40))
		if f.Unordered && i == n/2 { // a change of direction in between
			_, got := passMessage(t, b, a, TestMessage(20, 9))
			compareMessage(t, f, a, got, TestMessage(20, 9))
			_, got = passMessage(t, a, b, TestMessage(21, 9))
			compareMessage(t, f, b, got, TestMessage(21, 9))
		}
	}
}

func testRepetition(t *testing.T, f SecureFixture) {
	a, b := f.Lines(t)
	p1, _ := passMessage(t, a, b, TestMessage(1, 30))
	p2, _ := passMessage(t, a, b, TestMessage(2, 30))
	for _, p := range [][]byte{p1, p2, p1} {
		m, err := b.Open(p)
		switch {
		case f.Counts && (!errors.Is(err, parley.ErrSeen) || !secureDrop(err)):
			t.Errorf("a repeated packet: %v, want ErrSeen", err)
		case !f.Counts && err == nil && m == nil:
			t.Error("a repeated packet opened to nothing")
		}
	}
	_, got := passMessage(t, a, b, TestMessage(3, 30))
	compareMessage(t, f, b, got, TestMessage(3, 30))
}

// samplePositions samples up to n of 0 … size-1, both ends always.
func samplePositions(size, n int) []int {
	if size <= n {
		n = size
	}
	var at []int
	for i := range n {
		at = append(at, i*(size-1)/max(n-1, 1))
	}
	return slices.Compact(at)
}

func testTampering(t *testing.T, f SecureFixture) {
	a, b := f.Lines(t)
	authentic := a.Transport.Guarantees()&parley.Authentic != 0
	passMessage(t, a, b, TestMessage(1, 30)) // so that b knows a
	p := mustSeal(t, a, TestMessage(2, 50))
	try := func(what string, at int, q []byte) {
		t.Helper()
		line := b
		if !authentic { // it may open: then to another line, so that b stays
			_, line = f.Lines(t)
		}
		_, err := line.Open(q)
		if err == nil && authentic {
			t.Fatalf("%s at %d of %d: opened", what, at, len(p))
		}
		if err != nil && !secureDrop(err) {
			t.Fatalf("%s at %d of %d: %v is no error that a receiver knows", what, at, len(p), err)
		}
	}
	samples := 300
	if testing.Short() {
		samples = 100
	}
	if !authentic {
		samples = 20
	}
	for i, at := range samplePositions(len(p), samples) {
		q := bytes.Clone(p)
		q[at] ^= 1 << (i % 8)
		try("bit flipped", at, q)
	}
	for _, n := range samplePositions(len(p), samples/3) {
		try("truncated", n, p[:n])
	}
	for _, n := range []int{1, 16, len(p)} {
		try("lengthened", n, append(bytes.Clone(p), make([]byte, n)...))
	}
	m, err := b.Open(p)
	if err != nil {
		t.Fatalf("the genuine packet after the others: %v", err)
	}
	compareMessage(t, f, b, m, TestMessage(2, 50))
}

func testGarbage(t *testing.T, f SecureFixture) {
	_, b := f.Lines(t)
	for _, p := range [][]byte{nil, {}, {0}, {0xff}, bytes.Repeat([]byte{0}, 4096), bytes.Repeat([]byte{0x13}, 3328), []byte("\n\n\n"), []byte("GET / HTTP/1.0\r\n\r\n")} {
		if m, err := b.Open(p); err != nil && !secureDrop(err) {
			t.Errorf("garbage of %d bytes: %v", len(p), err)
		} else if err == nil && b.Transport.Guarantees()&parley.Authentic != 0 {
			t.Errorf("garbage of %d bytes opened: %v", len(p), m)
		}
	}
}

func testWrongLine(t *testing.T, f SecureFixture) {
	a, b := f.Lines(t)
	_, d := f.Lines(t)
	if a.Transport.Guarantees()&parley.Authentic == 0 {
		t.Skip("makes no promise about who sent a packet")
	}
	p := mustSeal(t, a, TestMessage(1, 30))
	for name, l := range map[string]*SecureLine{"another line": d, "its own sender": a} {
		if m, err := l.Open(p); err == nil || m != nil {
			t.Errorf("opened by %s", name)
		} else if !secureDrop(err) {
			t.Errorf("opened by %s: %v", name, err)
		}
	}
	m, err := b.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	compareMessage(t, f, b, m, TestMessage(1, 30))
}

// testRollback crashes before each commit.
func testRollback(t *testing.T, f SecureFixture) {
	a, b := f.Lines(t)
	ctx := context.Background()
	for i := range 6 {
		m := TestMessage(i, 60)
		a.Bucket.Begin()
		if _, err := a.Transport.Seal(ctx, &a.Conversation, m); err != nil {
			t.Fatal(err)
		}
		a.Bucket.Rollback()
		p := mustSeal(t, a, m)

		before := b.Bucket.Clone()
		b.Bucket.Begin()
		first, err := b.Transport.Open(ctx, &b.Conversation, p)
		if err != nil {
			t.Fatal(err)
		}
		b.Bucket.Rollback()
		if !b.Bucket.Equal(before) {
			t.Fatal("something was kept outside of State's transaction")
		}
		again, err := b.Open(p)
		if err != nil {
			t.Fatalf("after a rollback: %v", err)
		}
		compareMessage(t, f, b, first, m)
		compareMessage(t, f, b, again, m)
		a, b = b, a
	}
}

// testConcurrent uses the same transports on several lines at once: with the race
// detector it finds memory outside of State.
func testConcurrent(t *testing.T, f SecureFixture) {
	var wg sync.WaitGroup
	for range 4 {
		a, b := f.Lines(t)
		wg.Go(func() {
			for i := range 10 {
				p, err := a.Seal(TestMessage(i, 20))
				if err != nil {
					t.Error(err)
					return
				}
				m, err := b.Open(p)
				if err != nil {
					t.Error(err)
					return
				}
				compareMessage(t, f, b, m, TestMessage(i, 20))
				a, b = b, a
			}
		})
	}
	wg.Wait()
}
