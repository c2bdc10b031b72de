package ratchet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"parley"
	"parley/parleytest"
)

// burst seals n messages numbered from first.
func burst(t testing.TB, l *line, first, n int) [][]byte {
	t.Helper()
	var all [][]byte
	for i := range n {
		all = append(all, sealTo(t, l, first+i))
	}
	return all
}

func status(t testing.TB, l *line) Status {
	t.Helper()
	s, err := StatusOf(&l.Conversation)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A gap longer than MaxSkip leaves the latest keys; the rest is counted.
func TestLongGap(t *testing.T) {
	a, b := readyLine(t)
	const lost = MaxSkip + 50
	p := burst(t, a, 0, lost+1)
	openAs(t, b, p[lost], lost)
	if s := status(t, b); s.Missing != MaxSkip || s.Dropped != 50 {
		t.Errorf("%+v", s)
	}
	for i := range 50 {
		refused(t, b, p[i], ErrDropped)
		refused(t, b, p[i], parley.ErrSeen)
	}
	for _, i := range []int{50, 51, lost - 1} {
		openAs(t, b, p[i], i)
		if _, err := b.Open(p[i]); !errors.Is(err, parley.ErrSeen) || errors.Is(err, ErrDropped) {
			t.Errorf("a repeated packet: %v", err)
		}
	}
	if s := status(t, b); s.Missing != MaxSkip-3 || s.Dropped != 50 {
		t.Errorf("%+v", s)
	}
}

// Of all gaps together the oldest keys go first.
func TestManyGaps(t *testing.T) {
	a, b := readyLine(t)
	const n = 900
	var all [][][]byte
	for i := range 4 { // four chains of a's, each with n missing
		p := burst(t, a, i*1000, n+1)
		openAs(t, b, p[n], i*1000+n)
		all = append(all, p)
		send(t, b, a, 7)
	}
	if s := status(t, b); s.Missing != MaxSkipped || s.Dropped != 4*n-MaxSkipped {
		t.Fatalf("%+v", s)
	}
	gone := 4*n - MaxSkipped
	for i, p := range all {
		for j := range n {
			if i*n+j < gone {
				if j%50 == 0 {
					refused(t, b, p[j], ErrDropped)
				}
			} else if j%50 == 0 {
				openAs(t, b, p[j], i*1000+j)
			}
		}
	}
	if size := b.Bucket.Size(); size > 256<<10 {
		t.Errorf("the state takes %d bytes", size)
	}
}

// Old chains stay recognisable for a while, then their packets are strangers'.
func TestManyChains(t *testing.T) {
	a, b := agreedLine(t)
	var missing, opened [][]byte
	const turns = MaxChains + 5
	for i := range turns {
		missing = append(missing, sealTo(t, a, i))
		opened = append(opened, send(t, a, b, 1000+i))
		send(t, b, a, i)
	}
	if s := status(t, b); s.Missing != MaxChains || s.Dropped != turns-MaxChains {
		t.Errorf("%+v", s)
	}
	for i := range turns {
		if i < turns-MaxChains {
			refused(t, b, missing[i], parley.ErrForged)
			refused(t, b, opened[i], parley.ErrForged)
			continue
		}
		refused(t, b, opened[i], parley.ErrSeen)
		openAs(t, b, missing[i], i)
		refused(t, b, missing[i], parley.ErrSeen)
	}
	if s := status(t, b); s.Missing != 0 {
		t.Errorf("%+v", s)
	}
	send(t, a, b, 5)
}

// Gaps beyond MaxJump are not followed: in a chain, nor at its end.
func TestJump(t *testing.T) {
	a, b := readyLine(t)
	_, s, _ := load(a.Bucket)
	s.sent += MaxJump + 1
	s.save(a.Bucket)
	far := sealTo(t, a, 1)
	state := b.Bucket.Clone()
	refused(t, b, far, parley.ErrMalformed)
	refused(t, b, far, parley.ErrMalformed)
	if !b.Bucket.Equal(state) {
		t.Error("state changed")
	}
	// b writes, a's next chain says how long the one before was.
	p := sealTo(t, b, 2)
	openAs(t, a, p, 2)
	refused(t, b, sealTo(t, a, 3), parley.ErrMalformed)
}

// A chain's end, told by the next chain, leaves keys for what is missing.
func TestLateAcrossTurns(t *testing.T) {
	a, b := readyLine(t)
	p := burst(t, a, 0, 5)
	openAs(t, b, p[1], 1)
	send(t, b, a, 10)
	next := sealTo(t, a, 20)
	openAs(t, b, next, 20)
	for _, i := range []int{4, 0, 3, 2} {
		openAs(t, b, p[i], i)
	}
	for i := range p {
		refused(t, b, p[i], parley.ErrSeen)
	}
	if s := status(t, b); s.Missing != 0 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

// Duplicates are known as such behind more opened packets than have digests.
func TestOldDuplicates(t *testing.T) {
	a, b := readyLine(t)
	var all [][]byte
	for i := range MaxDigests + 2*digestSlack {
		all = append(all, send(t, a, b, i))
	}
	for _, p := range all {
		refused(t, b, p, parley.ErrSeen)
	}
	n := 0
	for range b.Bucket.Scan(digestKey) {
		n++
	}
	if n < MaxDigests || n > MaxDigests+digestSlack {
		t.Errorf("%d digests", n)
	}
}

// A restored copy uses counters again, with other content. The peer says so, and
// no nonce comes twice.
func TestRestoredCopy(t *testing.T) {
	a, b := readyLine(t)
	restored := *a
	restored.Bucket = a.Bucket.Clone()
	restored.Conversation.State = restored.Bucket

	first, again := sealTo(t, a, 1), sealTo(t, &restored, 2)
	if bytes.Equal(first[1:1+saltSize], again[1:1+saltSize]) {
		t.Error("the salts are the same")
	}
	openAs(t, b, first, 1)
	state := b.Bucket.Clone()
	refused(t, b, again, ErrForked)
	refused(t, b, again, parley.ErrForged)
	refused(t, b, first, parley.ErrSeen)
	if !b.Bucket.Equal(state) {
		t.Error("state changed")
	}

	// The same with a chain that the copy begins anew.
	p := sealTo(t, b, 3)
	openAs(t, a, p, 3)
	openAs(t, &restored, p, 3)
	openAs(t, b, sealTo(t, a, 4), 4)
	refused(t, b, sealTo(t, &restored, 5), ErrForked)
	for i := range 3 { // and with a copy that has fallen behind by turns
		send(t, b, a, i)
		send(t, a, b, i)
	}
	refused(t, b, sealTo(t, &restored, 6), ErrForked)
	send(t, b, a, 7)

	// And with one that goes on in a chain whose end the peer knows.
	send(t, a, b, 12)
	restored.Bucket = a.Bucket.Clone()
	restored.Conversation.State = restored.Bucket
	openAs(t, b, sealTo(t, a, 8), 8)
	_ = sealTo(t, &restored, 8)
	send(t, b, a, 9)
	send(t, a, b, 10)
	refused(t, b, sealTo(t, &restored, 11), ErrForked)

	// A relay can't raise that alarm: it can't make any header.
	for i := range first {
		if i%97 == 0 && i > 0 {
			q := bytes.Clone(first)
			q[i] ^= 1
			if _, err := b.Open(q); errors.Is(err, ErrForked) || !errors.Is(err, parley.ErrForged) {
				t.Fatalf("bit flipped at %d: %v", i, err)
			}
		}
	}
}

// What only somebody with the header key can make: each lie is found, and
// nothing is written.
func TestLyingHeaders(t *testing.T) {
	for _, test := range []struct {
		name  string
		turn  int  // the lie's
		known bool // and the peer has a message of that turn already
		lie   func(header []byte)
		want  error
	}{
		{"another DH key in a known chain", 2, true, func(h []byte) { h[0] ^= 1 }, ErrForked},
		{"another PN in a known chain", 2, true, func(h []byte) { h[keySize+3] ^= 1 }, ErrForked},
		{"another DH key in a new chain", 2, false, func(h []byte) { h[3] ^= 1 }, parley.ErrForged},
		{"a DH key of low order", 2, false, func(h []byte) { clear(h[:keySize]) }, parley.ErrMalformed},
		{"PN too low", 2, false, func(h []byte) { clear(h[keySize : keySize+4]) }, ErrForked},
		{"PN too high", 2, false, func(h []byte) { h[keySize] = 1 }, parley.ErrMalformed},
		{"PN in a first chain", 1, false, func(h []byte) { h[keySize+3] = 1 }, parley.ErrMalformed},
		{"another KEM step", 2, false, func(h []byte) { h[keySize+4] = kemNone }, parley.ErrMalformed},
		{"another ciphertext", 2, false, func(h []byte) { h[keySize+5] ^= 1 }, parley.ErrForged},
		{"something behind the ciphertext", 2, false, func(h []byte) { h[chainHeadSize-1] = 1 }, parley.ErrMalformed},
		{"something in no KEM field", 3, false, func(h []byte) { h[keySize+5] = 1 }, parley.ErrMalformed},
		{"an impossible encapsulation key", 4, false, func(h []byte) {
			for i := range ekSize {
				h[keySize+5+i] = 0xff
			}
		}, parley.ErrMalformed},
		{"another counter", 2, false, func(h []byte) { h[headerSize-1] = 9 }, parley.ErrForged},
		{"a counter out of reach", 2, false, func(h []byte) { h[chainHeadSize] = 9 }, parley.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, a := readyLine(t) // a begins turn 1
			for i := 1; i < test.turn; i++ {
				send(t, a, b, i)
				a, b = b, a
			}
			if test.known {
				send(t, a, b, 10)
			}
			_, before, _ := load(a.Bucket)
			var bt batch
			head := a.Bucket.Get(headKey)
			if before.ourTurn() {
				var err error
				if head, err = New().beginChain(a.Bucket, before, &bt); err != nil {
					t.Fatal(err)
				}
			}
			header := binary.BigEndian.AppendUint32(bytes.Clone(head), before.sent)
			test.lie(header)
			key, _ := chainStep(before.sendKey)
			p, err := New().sealPacket(before, key, header, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			refused(t, b, p, test.want)
			send(t, a, b, 4)
		})
	}
}

// Sizes show units only, whatever the header holds.
func TestSizes(t *testing.T) {
	a, b := readyLine(t)
	m := parleytest.TestMessage(1, 0)
	m.Group = nil
	for _, test := range []struct{ text, units int }{
		{0, 1}, {2000, 1}, {2001, 2}, {2000 + PacketUnit, 2}, {2001 + PacketUnit, 3}, {MaxMessage - 34, 316},
	} {
		for range 3 { // a KEM key, a ciphertext, neither
			m.Body = make([]byte, test.text)
			p, err := a.Seal(m)
			if err != nil {
				t.Fatal(err)
			}
			if len(p) != test.units*PacketUnit {
				t.Errorf("a text of %d bytes makes a packet of %d", test.text, len(p))
			}
			if got, err := b.Open(p); err != nil || len(got.Body) != test.text {
				t.Fatalf("a text of %d bytes: %v", test.text, err)
			}
			a, b = b, a
		}
	}
	state := a.Bucket.Clone()
	m.Body = make([]byte, MaxMessage-33)
	for _, bad := range []*parley.Message{m, {Group: make([]byte, 65)}, {}} {
		if bad != m && bad.Group == nil {
			bad.Sent = parleytest.Then.AddDate(9000, 0, 0)
		}
		if _, err := a.Seal(bad); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("Seal: %v", err)
		}
	}
	if !a.Bucket.Equal(state) {
		t.Error("state changed")
	}
	refused(t, b, append([]byte{kindMessage}, make([]byte, maxPacket+PacketUnit-1)...), parley.ErrMalformed)
}

// A failing source of randomness fails Seal and changes nothing.
func TestNoRandomness(t *testing.T) {
	a, b := readyLine(t)
	send(t, b, a, 1)
	state := a.Bucket.Clone()
	for n := range 3 {
		tr := &Transport{random: bytes.NewReader(make([]byte, n*32))}
		if _, err := tr.Seal(ctx, &a.Conversation, parleytest.TestMessage(1, 1)); err == nil && n < 2 {
			t.Error(fmt.Sprint("sealed with ", n*32, " random bytes"))
		} else if err != nil && !a.Bucket.Equal(state) {
			t.Error("state changed")
		}
	}
}
