package nes

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
)

var ctx = context.Background()

// keyring has our keys, and the public ones that are trusted.
type keyring struct {
	private map[parley.KeyKind]crypto.PrivateKey
	public  map[parley.Name]map[parley.KeyKind]crypto.PublicKey
	err     error // of every call
}

func ring(tb testing.TB, us string, peers map[parley.Name]string) *keyring {
	k := keysOf(tb, us)
	r := &keyring{map[parley.KeyKind]crypto.PrivateKey{KindMessage: k.message, KindSign: k.sign}, map[parley.Name]map[parley.KeyKind]crypto.PublicKey{}, nil}
	for name, user := range peers {
		p := keysOf(tb, user)
		r.public[name] = map[parley.KeyKind]crypto.PublicKey{KindMessage: &p.message.PublicKey, KindSign: &p.sign.PublicKey}
	}
	return r
}

func (r *keyring) Private(_ context.Context, kind parley.KeyKind, _ parley.Name) (crypto.PrivateKey, error) {
	if k, ok := r.private[kind]; ok && r.err == nil {
		return k, nil
	}
	return nil, errors.Join(parley.ErrNoKey, r.err)
}

func (r *keyring) Public(_ context.Context, kind parley.KeyKind, peer parley.Name) (crypto.PublicKey, error) {
	if r.err != nil {
		return nil, r.err
	}
	if k, ok := r.public[peer][kind]; ok {
		return k, nil
	}
	return nil, parley.ErrUntrusted
}

// lineOf is a user's end of a line with another.
func lineOf(tb testing.TB, us, peer string) *parleytest.SecureLine {
	l := parleytest.NewSecureLine(New(), parley.NES, parley.Name(us), parley.Name(peer))
	l.Conversation.Bare, l.Conversation.Keys = true, ring(tb, us, map[parley.Name]string{parley.Name(peer): peer})
	return l
}

// textOnly takes the group off the suite's messages, as this format can't carry one.
type textOnly struct{ *Transport }

func (x textOnly) Seal(ctx context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	plain := *m
	plain.Group = nil
	return x.Transport.Seal(ctx, c, &plain)
}

func TestConformance(t *testing.T) {
	var n atomic.Int32 // names differ from line to line, keys do not
	parleytest.SecureTransport(t, parleytest.SecureFixture{
		Lines: func(t testing.TB) (a, b *parleytest.SecureLine) {
			i := n.Add(1)
			alice, bob := parley.Name(fmt.Sprintf("alice%d", i)), parley.Name(fmt.Sprintf("bob%d", i))
			end := func(self, peer parley.Name, us, them string) *parleytest.SecureLine {
				l := parleytest.NewSecureLine(textOnly{New()}, parley.NES, self, peer)
				l.Conversation.Bare, l.Conversation.Keys = true, ring(t, us, map[parley.Name]string{peer: them})
				return l
			}
			return end(alice, bob, "alice", "bob"), end(bob, alice, "bob", "alice")
		},
		Fields: parleytest.FieldAMP | parleytest.FieldSent, Unordered: true, MaxBody: 20000,
	})
}

// The original's envelopes open on a line, and the sender is named before.
func TestTransportVectors(t *testing.T) {
	for _, x := range readVectors().Messages {
		l := lineOf(t, x.Recipient, x.Sender)
		if from, err := New().Claimed(ctx, l.Conversation.Keys, []byte(x.Envelope)); err != nil || string(from) != x.Sender {
			t.Errorf("%s: %q, %v", x.ID, from, err)
		}
		m, err := l.Open([]byte(x.Envelope))
		must(t, err)
		if string(m.Body) != x.Message || m.Sent.UnixMilli() != x.Time || string(m.From) != x.Sender || m.AMP != parley.TextPlain ||
			fmt.Sprintf("%x", m.Once) != x.SHA256 || !bytes.Equal(m.ID[:], m.Once[:16]) || len(m.To) != 1 || string(m.To[0]) != x.Recipient {
			t.Errorf("%s: %+v", x.ID, m)
		}
	}
}

func text(id byte, at time.Time, body string) *parley.Message {
	return &parley.Message{ID: [16]byte{id}, AMP: parley.TextPlain, Sent: at, Body: []byte(body)}
}

func TestPresence(t *testing.T) {
	a, b := lineOf(t, "alice", "bob"), lineOf(t, "bob", "alice")
	for _, body := range []string{"\x08\x04\x10\xac\x02", ""} {
		p, err := a.Seal(&parley.Message{AMP: parley.Presence, Sent: parleytest.Then, Body: []byte(body), ID: [16]byte{1, byte(len(body))}})
		must(t, err)
		m, err := b.Open(p)
		if err != nil || m.AMP != parley.Presence || string(m.Body) != body {
			t.Errorf("%+v, %v", m, err)
		}
	}
}

func TestTransportRefuses(t *testing.T) {
	m := text(1, parleytest.Then, "x")
	for name, change := range map[string]func(*parley.Conversation, *parley.Message){
		"receipt":     func(_ *parley.Conversation, m *parley.Message) { m.AMP = parley.Receipt },
		"packed text": func(_ *parley.Conversation, m *parley.Message) { m.AMP = parley.TextSimple },
		"group":       func(_ *parley.Conversation, m *parley.Message) { m.Group = []byte("g") },
		"not UTF-8":   func(_ *parley.Conversation, m *parley.Message) { m.Body = []byte("a\xff") },
		"too long":    func(_ *parley.Conversation, m *parley.Message) { m.Body = make([]byte, MaxText+1) },
		"presence too long": func(_ *parley.Conversation, m *parley.Message) {
			m.AMP, m.Body = parley.Presence, make([]byte, MaxPresence+1)
		},
		"our name": func(c *parley.Conversation, _ *parley.Message) { c.Self = "Alice" },
		"nobody":   func(c *parley.Conversation, _ *parley.Message) { c.Peers = nil },
		"two":      func(c *parley.Conversation, _ *parley.Message) { c.Peers = []parley.Name{"bob", "carol"} },
	} {
		l, m := lineOf(t, "alice", "bob"), *m
		change(&l.Conversation, &m)
		if p, err := l.Seal(&m); !errors.Is(err, parley.ErrRefused) || p != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTransportKeys(t *testing.T) {
	p, err := lineOf(t, "alice", "bob").Seal(text(1, parleytest.Then, "x"))
	must(t, err)
	bob := keysOf(t, "bob").message
	other, err := ecdh.X25519().GenerateKey(nil)
	must(t, err)
	for name, test := range map[string]struct {
		change     func(*keyring)
		seal, open error
	}{
		"several":     {func(r *keyring) { r.private[KindMessage] = Decrypters{keysOf(t, "carol").message, bob} }, nil, nil},
		"no keys":     {func(r *keyring) { r.private[KindMessage] = Decrypters{} }, nil, parley.ErrNoKey},
		"none yet":    {func(r *keyring) { r.private = nil }, parley.ErrNoKey, parley.ErrNoKey},
		"not trusted": {func(r *keyring) { r.public = nil }, parley.ErrUntrusted, parley.ErrUntrusted},
		"no RSA": {func(r *keyring) {
			r.public["alice"] = map[parley.KeyKind]crypto.PublicKey{KindSign: other.Public(), KindMessage: other.Public()}
		}, parley.ErrNoKey, parley.ErrNoKey},
		"nil": {func(r *keyring) {
			r.public["alice"] = map[parley.KeyKind]crypto.PublicKey{KindSign: (*rsa.PublicKey)(nil), KindMessage: nil}
		}, parley.ErrNoKey, parley.ErrNoKey},
		"no use":    {func(r *keyring) { r.private[KindMessage], r.private[KindSign] = other, other }, parley.ErrNoKey, parley.ErrNoKey},
		"cancelled": {func(r *keyring) { r.err = context.Canceled }, context.Canceled, context.Canceled},
		"the peer's weak": {func(r *keyring) {
			r.public["alice"] = map[parley.KeyKind]crypto.PublicKey{KindSign: &weakKey().PublicKey, KindMessage: &weakKey().PublicKey}
		}, parley.ErrUntrusted, parley.ErrUntrusted},
	} {
		l := lineOf(t, "bob", "alice")
		test.change(l.Conversation.Keys.(*keyring))
		if _, err := l.Seal(text(1, parleytest.Then, "x")); !errors.Is(err, test.seal) {
			t.Errorf("%s: Seal: %v", name, err)
		}
		if _, err := l.Open(p); !errors.Is(err, test.open) {
			t.Errorf("%s: Open: %v", name, err)
		}
	}
	// What is for another line of ours is no message of this one.
	l := lineOf(t, "bob", "carol")
	if _, err := l.Open(p); !errors.Is(err, parley.ErrForged) {
		t.Error(err)
	}
	for _, p := range [][]byte{nil, []byte("{}"), bytes.Repeat([]byte{' '}, MaxEnvelope+1)} {
		if _, err := New().Claimed(ctx, l.Conversation.Keys, p); !errors.Is(err, parley.ErrMalformed) {
			t.Error(err)
		}
	}
}

// No two messages have the same signed bytes, and a message that is sealed again has.
func TestTimestamps(t *testing.T) {
	a, b := lineOf(t, "alice", "bob"), lineOf(t, "bob", "alice")
	pass := func(m *parley.Message) (once string, at int64) {
		t.Helper()
		p, err := a.Seal(m)
		must(t, err)
		got, err := b.Open(p)
		must(t, err)
		return string(got.Once), got.Sent.UnixMilli()
	}
	now := parleytest.Then.UnixMilli()
	seen := map[string]bool{}
	for i, test := range []struct {
		sent time.Time
		want int64
	}{
		{parleytest.Then, now}, {parleytest.Then, now + 1}, {parleytest.Then.Add(-time.Hour), now + 2},
		{parleytest.Then.Add(time.Millisecond * 7 / 2), now + 3}, {time.Time{}, now + 4}, {parleytest.Then.Add(time.Second), now + 1000},
	} {
		m := text(byte(i), test.sent, "ok")
		once, at := pass(m)
		if at != test.want || seen[once] {
			t.Errorf("message %d: %d, want %d", i, at, test.want)
		}
		seen[once] = true
		m.Sent = m.Sent.Add(time.Minute) // as somebody might who sends it again
		if again, _ := pass(m); again != once {
			t.Errorf("message %d sealed again is another", i)
		}
	}
	if once, at := pass(text(0, parleytest.Then, "ok")); at != now || !seen[once] {
		t.Error("the first message, again: ", at)
	}
}

// The memory for that is bounded, a failing Seal uses nothing up, and what is not ours is
// noticed.
func TestTimestampMemory(t *testing.T) {
	b := newBucket()
	id := func(i int) [16]byte { return [16]byte{byte(i), byte(i >> 8)} }
	for i := range 2*resends + 10 {
		k, err := readClock(b)
		must(t, err)
		at, known, err := k.at(b, id(i), 5)
		if err != nil || known || at != int64(5+i) {
			t.Fatal(i, at, known, err)
		}
		k.used(b, id(i), at)
	}
	rows := 0
	for range b.Scan("") {
		rows++
	}
	if rows != 2*resends+1 {
		t.Errorf("%d rows", rows)
	}
	k, err := readClock(b)
	must(t, err)
	for i, want := range map[int]bool{0: false, resends + 9: false, resends + 10: true, 2*resends + 9: true} {
		if at, known, err := k.at(b, id(i), 5); known != want || err != nil || known && at != int64(5+i) {
			t.Error(i, at, known, err)
		}
	}
	k.last = math.MaxInt64
	if _, _, err := k.at(b, id(-1), 5); !errors.Is(err, parley.ErrRefused) {
		t.Error(err)
	}
	for key, value := range map[string]string{clockRow: "short", idRow(make([]byte, 16)): "x", clockRow + " ": ""} {
		l := lineOf(t, "alice", "bob")
		l.Bucket.Put(strings.TrimSpace(key), []byte(value))
		if _, err := l.Seal(text(0, parleytest.Then, "x")); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", key, err)
		}
	}
	l := lineOf(t, "alice", "bob")
	l.Bucket.Put(clockRow, append(make([]byte, 10), 0xff, 0xff))
	if _, err := l.Seal(text(0, parleytest.Then, "x")); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}
