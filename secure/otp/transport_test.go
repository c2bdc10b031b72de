package otp_test

import (
	"context"
	"errors"
	"testing"

	"parley"
	"parley/parleytest"
	"parley/secure/otp"
)

// lines makes the two ends of a line with a fresh pad.
func lines(t testing.TB, v otp.Version, size int64) (a, b *parleytest.SecureLine) {
	one, two := parleytest.NewPads(t, v, size)
	n := parley.OneTimePad
	if v == otp.V2 {
		n = parley.OneTimePadV2
	}
	var tr parley.SecureTransport = otp.New(v)
	if v == otp.V1 {
		tr = textOnly{otp.New(v)}
	}
	a = parleytest.NewSecureLine(tr, n, "alice", "bob")
	b = parleytest.NewSecureLine(tr, n, "bob", "alice")
	a.Conversation.Keys, b.Conversation.Keys = parleytest.PadRing{Pad: one}, parleytest.PadRing{Pad: two}
	return a, b
}

func TestConformance(t *testing.T) {
	for v, fields := range map[otp.Version]parleytest.Field{otp.V1: 0, otp.V2: parleytest.AllFields} {
		t.Run(map[otp.Version]string{otp.V1: "v1", otp.V2: "v2"}[v], func(t *testing.T) {
			parleytest.SecureTransport(t, parleytest.SecureFixture{
				Lines:  func(t testing.TB) (a, b *parleytest.SecureLine) { return lines(t, v, 1<<21) },
				Fields: fields, Counts: true, Unordered: true,
			})
		})
	}
}

// textOnly takes the group off the suite's messages, as version 1 can't carry one.
type textOnly struct{ *otp.Transport }

func (x textOnly) Seal(ctx context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	plain := *m
	plain.Group = nil
	return x.Transport.Seal(ctx, c, &plain)
}

// TestTransport: what the suite does not ask.
func TestTransport(t *testing.T) {
	a, b := lines(t, otp.V1, 1<<12)
	for name, m := range map[string]*parley.Message{
		"a receipt": {AMP: parley.Receipt},
		"no UTF-8":  {AMP: parley.TextPlain, Body: []byte{0xff}},
		"a group":   {AMP: parley.TextPlain, Group: []byte("g")},
		"too long":  {AMP: parley.TextPlain, Body: make([]byte, 1<<12)},
	} {
		a.Transport = otp.New(otp.V1)
		if _, err := a.Seal(m); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	packet, err := a.Seal(&parley.Message{AMP: parley.TextPlain, Body: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Open(packet)
	if err != nil || string(m.Body) != "hello" || m.From != "alice" || len(m.Once) != 8 || m.AMP != parley.TextPlain {
		t.Errorf("%+v, %v", m, err)
	}
	b.Conversation.Keys = parleytest.PadRing{}
	if _, err := b.Open(packet); !errors.Is(err, parley.ErrNoKey) {
		t.Errorf("without a pad: %v", err)
	}
	b.Conversation.Keys = nil
	if _, err := b.Open(packet); !errors.Is(err, parley.ErrNoKey) {
		t.Errorf("without keys: %v", err)
	}
	a.Conversation.Peers = []parley.Name{"bob", "carol"}
	if _, err := a.Seal(&parley.Message{AMP: parley.TextPlain}); !errors.Is(err, parley.ErrRefused) {
		t.Errorf("between three: %v", err)
	}
}

// TestSafe: the pad is told that a packet is safe after its state has committed, and told
// again by the next call if it did not hear; a state that was thrown away tells nothing.
func TestSafe(t *testing.T) {
	for _, hears := range []bool{true, false} {
		one, two := parleytest.NewPads(t, otp.V2, 1<<14)
		a := parleytest.NewSecureLine(otp.New(otp.V2), parley.OneTimePadV2, "alice", "bob")
		b := parleytest.NewSecureLine(otp.New(otp.V2), parley.OneTimePadV2, "bob", "alice")
		a.Conversation.Keys, b.Conversation.Keys = parleytest.PadRing{Pad: one}, parleytest.PadRing{Pad: two}
		var after []func()
		commit := func() {
			for _, f := range after {
				if hears {
					f()
				}
			}
			after = nil
		}
		a.Conversation.After = func(f func()) { after = append(after, f) }
		b.Conversation.After = a.Conversation.After

		m := parleytest.TestMessage(1, 10)
		a.Bucket.Begin()
		first, err := a.Transport.Seal(t.Context(), &a.Conversation, m)
		if err != nil {
			t.Fatal(err)
		}
		a.Bucket.Rollback() // a crash before the commit
		after = nil
		packet, err := a.Seal(m)
		if err != nil || string(packet) != string(first) {
			t.Fatalf("sealed again to another packet: %v", err)
		}
		commit()
		if _, err := b.Open(packet); err != nil {
			t.Fatal(err)
		}
		commit()
		if got := one.Pending() + two.Pending(); hears && got != 0 || !hears && got != 2 {
			t.Errorf("hears %v: %d packets are pending", hears, got)
		}
		hears = true
		if packet, err = a.Seal(parleytest.TestMessage(2, 10)); err != nil {
			t.Fatal(err)
		}
		commit()
		if _, err := b.Open(packet); err != nil {
			t.Fatal(err)
		}
		commit()
		if got := one.Pending() + two.Pending(); got != 0 {
			t.Errorf("%d packets are pending in the end", got)
		}
		if _, err := b.Open(packet); !errors.Is(err, parley.ErrSeen) {
			t.Errorf("opened twice: %v", err)
		}
	}
}
