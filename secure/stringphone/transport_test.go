package stringphone

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"parley"
	"parley/parleytest"
)

var ctx = context.Background()

type line = parleytest.SecureLine

// lineOf makes an end with a setup, the way the messenger does.
func lineOf(t testing.TB, bare bool, self, other []byte, s Setup) *line {
	t.Helper()
	name := func(seed []byte) parley.Name {
		return NameOf(IDOf(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)))
	}
	l := parleytest.NewSecureLine(New(), parley.StringPhone, name(self), name(other))
	l.Conversation.Bare = bare
	s.Seed = self
	p, err := s.MarshalBinary()
	must(t, err)
	must(t, New().Accept(ctx, &l.Conversation, &parley.Introduction{Kind: parley.Offer, Payload: p}))
	return l
}

// lines are two members that hold the same topic key.
func lines(t testing.TB, mode Mode, bare bool) (a, b *line) {
	seedA, seedB, key := GenerateSeed(), GenerateSeed(), GenerateTopicKey()
	public := func(seed []byte) []ed25519.PublicKey {
		return []ed25519.PublicKey{ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)}
	}
	a = lineOf(t, bare, seedA, seedB, Setup{Mode: mode, TopicKey: key, Trust: public(seedB)})
	b = lineOf(t, bare, seedB, seedA, Setup{Mode: mode, TopicKey: key, Trust: public(seedA)})
	return a, b
}

func TestConformance(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		for bare, fields := range map[bool]parleytest.Field{false: parleytest.AllFields, true: parleytest.FieldID | parleytest.FieldAMP} {
			t.Run(fmt.Sprintf("bare=%v", bare), func(t *testing.T) {
				if bare && mode != Plain {
					t.Skip("Sent is the header's there: TestBare")
				}
				parleytest.SecureTransport(t, parleytest.SecureFixture{
					Lines:  func(t testing.TB) (*line, *line) { return lines(t, mode, bare) },
					Fields: fields, Counts: true, Unordered: true, MaxBody: 20000,
				})
			})
		}
	})
}

func TestBare(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		a, b := lines(t, mode, true)
		m := &parley.Message{ID: [16]byte{7, 8}, AMP: parley.TextPlain, Body: []byte("22.5")}
		p, err := a.Seal(m)
		must(t, err)
		got, err := b.Open(p)
		must(t, err)
		if string(got.Body) != "22.5" || got.ID != m.ID || got.From != a.Conversation.Self || got.AMP != parley.TextPlain {
			t.Errorf("%+v", got)
		}
		if got.Sent.IsZero() != (mode == Plain) {
			t.Errorf("sent %v", got.Sent)
		}
		m.AMP = parley.Receipt
		if _, err := a.Seal(m); !errors.Is(err, parley.ErrRefused) {
			t.Error(err)
		}
	})
}

// TestTransportDevice: what a bare conversation seals in Plain a device reads.
func TestTransportDevice(t *testing.T) {
	key := GenerateTopicKey()
	device, err := NewTopic(Options{TopicKey: key})
	must(t, err)
	a := lineOf(t, true, GenerateSeed(), make([]byte, 32), Setup{TopicKey: key, Trust: []ed25519.PublicKey{device.PublicKey()}})
	m, err := Load(a.Bucket, nil)
	must(t, err)
	must(t, device.AddParticipant(m.PublicKey()))
	p, err := a.Seal(&parley.Message{AMP: parley.TextPlain, ID: [16]byte{1}, Body: []byte("on")})
	must(t, err)
	if got, err := device.Decode(p); err != nil || string(got) != "on" {
		t.Errorf("%q, %v", got, err)
	}
	p, err = device.Encode([]byte("done"))
	must(t, err)
	if got, err := a.Open(p); err != nil || string(got.Body) != "done" || !got.Sent.IsZero() {
		t.Errorf("%v, %v", got, err)
	}
}

// TestTransportJoin: introduction, answer and change, as the messenger drives them.
func TestTransportJoin(t *testing.T) {
	each(t, func(t *testing.T, mode Mode) {
		seedA, seedB := GenerateSeed(), GenerateSeed()
		a := lineOf(t, false, seedA, seedB, Setup{Mode: mode, Found: true})
		b := lineOf(t, false, seedB, seedA, Setup{Mode: mode})
		var posts [][]byte
		a.Conversation.Post = func(p []byte) { posts = append(posts, p) }
		tr := New()
		m := parleytest.TestMessage(1, 10)
		if _, err := b.Seal(m); !errors.Is(err, parley.ErrNoKey) {
			t.Error(err)
		}
		intro, err := tr.Introduce(ctx, &b.Conversation)
		must(t, err)
		if _, err := b.Open(intro); !errors.Is(err, parley.ErrSeen) {
			t.Error(err)
		}
		var asks, answers *parley.Introduction
		if _, err := a.Open(intro); !errors.As(err, &asks) || asks.Kind != parley.Request || asks.From != b.Conversation.Self || len(asks.Key) != 32 {
			t.Fatal(err)
		}
		if _, err := tr.Admit(ctx, &a.Conversation, &parley.Introduction{Kind: parley.Offer, Packet: intro}); !errors.Is(err, parley.ErrRefused) {
			t.Error(err)
		}
		reply, err := tr.Admit(ctx, &a.Conversation, asks)
		must(t, err)
		if _, err := a.Open(reply); !errors.Is(err, parley.ErrSeen) {
			t.Error(err)
		}
		if _, err := b.Open(reply); !errors.As(err, &answers) || answers.Kind != parley.Answer || answers.From != a.Conversation.Self {
			t.Fatal(err)
		}
		must(t, tr.Accept(ctx, &b.Conversation, answers))
		if (len(posts) > 0) != (mode != Plain) {
			t.Errorf("%d posted", len(posts))
		}
		p, err := b.Seal(m)
		must(t, err)
		got, err := a.Open(p)
		must(t, err)
		if !bytes.Equal(got.Body, m.Body) {
			t.Error("another body")
		}
		if names := tr.Members(&a.Conversation); len(names) != 2 {
			t.Errorf("members %v", names)
		}

		// A third by its key, and out again.
		third := ed25519.NewKeyFromSeed(GenerateSeed()).Public().(ed25519.PublicKey)
		for _, bad := range []parley.Name{"", "zz", "abcd"} {
			if err := tr.Change(ctx, &a.Conversation, []parley.Name{bad}, nil); !errors.Is(err, parley.ErrRefused) {
				t.Error(err)
			}
			if err := tr.Change(ctx, &a.Conversation, nil, []parley.Name{bad}); !errors.Is(err, parley.ErrRefused) {
				t.Error(err)
			}
		}
		must(t, tr.Change(ctx, &a.Conversation, []parley.Name{parley.Name(hex.EncodeToString(third))}, nil))
		if names := tr.Members(&a.Conversation); len(names) != 3 {
			t.Errorf("members %v", names)
		}
		err = tr.Change(ctx, &a.Conversation, nil, []parley.Name{NameOf(IDOf(third))})
		if mode == Plain {
			if !errors.Is(err, parley.ErrRefused) {
				t.Error(err)
			}
			return
		}
		must(t, err)
		if names := tr.Members(&a.Conversation); len(names) != 2 {
			t.Errorf("members %v", names)
		}
	})
}

func TestTransportRefusals(t *testing.T) {
	tr := New()
	l := parleytest.NewSecureLine(tr, parley.StringPhone, "a", "b")
	c := &l.Conversation
	in := &parley.Introduction{Kind: parley.Answer, Packet: []byte("r")}
	_, sealErr := tr.Seal(ctx, c, parleytest.TestMessage(1, 1))
	_, openErr := tr.Open(ctx, c, []byte("s"))
	_, introErr := tr.Introduce(ctx, c)
	_, admitErr := tr.Admit(ctx, c, &parley.Introduction{Kind: parley.Request})
	for _, err := range []error{sealErr, openErr, introErr, admitErr, tr.Accept(ctx, c, in), tr.Change(ctx, c, nil, nil)} {
		if !errors.Is(err, parley.ErrNoKey) {
			t.Errorf("without a setup: %v", err)
		}
	}
	if err := tr.Accept(ctx, c, &parley.Introduction{Kind: parley.Offer, Payload: []byte{9}}); !errors.Is(err, parley.ErrMalformed) {
		t.Error(err)
	}
	if err := tr.Accept(ctx, c, &parley.Introduction{Kind: parley.Request}); !errors.Is(err, parley.ErrRefused) {
		t.Error(err)
	}
	if tr.Members(c) != nil {
		t.Error("members without a setup")
	}
	a, _ := lines(t, Plain, false)
	p, _ := (&Setup{}).MarshalBinary()
	if err := tr.Accept(ctx, &a.Conversation, &parley.Introduction{Kind: parley.Offer, Payload: p}); !errors.Is(err, parley.ErrRefused) {
		t.Error(err)
	}
	m := parleytest.TestMessage(1, 1)
	m.Group = make([]byte, 65)
	if _, err := a.Seal(m); !errors.Is(err, parley.ErrRefused) {
		t.Error(err)
	}
}

// TestInnerHeader: a message without the inner header, or with another ID, is
// refused, and leaves no trace.
func TestInnerHeader(t *testing.T) {
	a, b := lines(t, Plain, false)
	m, err := Load(a.Bucket, nil)
	must(t, err)
	for _, body := range []string{"just text", string(append([]byte{1}, make([]byte, 60)...))} {
		p, err := m.Seal(then, [16]byte{5}, []byte(body))
		must(t, err)
		if _, err := b.Open(p); !errors.Is(err, parley.ErrMalformed) {
			t.Error(err)
		}
	}
}

func TestGuarantees(t *testing.T) {
	if g := GuaranteesOf(ForwardSecret); g&parley.ForwardSecret == 0 || g&parley.Healing != 0 || g&parley.Deniable != 0 {
		t.Error(g)
	}
	if g := GuaranteesOf(Headed); g != New().Guarantees() || g&parley.ForwardSecret != 0 {
		t.Error(g)
	}
}
