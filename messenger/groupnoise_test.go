package messenger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
	"parley/secure/stringphone"
)

// TestGroupNoise: what is no message, what comes twice and what comes back leaves
// no trace that anybody could flood.
func TestGroupNoise(t *testing.T) {
	inTopic(t, 3, func(w *world, b *bus) {
		t, ctx := w.t, context.Background()
		alice, bob := w.phone(b, "alice"), w.phone(b, "bob")
		alice.enter(stringphone.Setup{Found: true})
		bob.enter(stringphone.Setup{})
		alice.admits(bob)
		b.set(parleytest.Faults{Duplicate: .7, LoseAnswer: .5})
		for i := range 5 {
			bob.send("lamps", fmt.Sprint(i))
		}
		alice.hears("0", "1", "2", "3", "4")
		b.set(parleytest.Faults{})
		for range 20 {
			junk := make([]byte, 150)
			rand.Read(junk)
			b.inject("home/lamps", junk, nil, append([]byte("s"), junk...), append([]byte("r"), junk[:128]...))
		}
		b.inject("home/lamps", slices.Clone(b.log)...) // all of it once more
		bob.send("lamps", "5")
		alice.hears("0", "1", "2", "3", "4", "5")
		// One for the request, one for messages of strangers.
		if n := alice.notices("lamps"); len(n) != 2 {
			t.Fatalf("%q", n)
		}
		s, _ := alice.m.Status(ctx)
		if s.Dropped == 0 || s.Waiting == 0 {
			t.Fatalf("%+v", s)
		}
		// A crowd at the door.
		for i := range 3 * maxRequests {
			topic, err := stringphone.NewTopic(stringphone.Options{})
			if err != nil {
				t.Fatal(err)
			}
			b.inject("home/lamps", topic.ConstructIntro(), topic.ConstructIntro())
			_ = i
		}
		bob.send("lamps", "6")
		alice.hears("0", "1", "2", "3", "4", "5", "6")
		if n := alice.notices("lamps"); len(n) != 2+maxRequests+1 || len(alice.people()) != 2+maxRequests {
			t.Fatal(len(n), len(alice.people()))
		}
		// One of them is turned away for good, quietly.
		asks := alice.people()[2]
		if p, err := alice.m.Expel(ctx, "lamps", asks.ID); err != nil || p.State != "denied" {
			t.Fatal(p, err)
		}
	})
}

// TestGroupNoText: what devices send that is no text is shown as what it is.
func TestGroupNoText(t *testing.T) {
	inTopic(t, 4, func(w *world, b *bus) {
		t := w.t
		key, seed := stringphone.GenerateTopicKey(), stringphone.GenerateSeed()
		device, err := stringphone.NewTopic(stringphone.Options{Seed: seed, TopicKey: key})
		if err != nil {
			t.Fatal(err)
		}
		alice := w.phone(b, "alice")
		alice.enter(stringphone.Setup{TopicKey: key, Trust: trusted([]Key{device.PublicKey()})})
		for _, body := range [][]byte{{0xff, 0xfe, 0x01}, bytes.Repeat([]byte{0x80}, 100), {}, []byte(strings.Repeat("x", MaxText+1)), []byte("21.5 °C")} {
			p, err := device.Encode(body)
			if err != nil {
				t.Fatal(err)
			}
			b.inject("home/lamps", p)
		}
		alice.hears("21.5 °C")
		n := alice.notices("lamps")
		for i, want := range []string{"3 bytes came that is no text: fffe01", "100 bytes came that is no text: " + strings.Repeat("80", 32) + " …", "empty", "too long"} {
			if len(n) != 4 || !strings.Contains(n[i], want) {
				t.Errorf("%q lacks %q", n, want)
			}
		}
		h, _ := alice.m.History(context.Background(), "lamps", 0)
		for _, m := range h {
			if m.From != device.ID().String()[:8] || m.Sent.IsZero() {
				t.Errorf("%+v", m)
			}
		}
		// And the other way: the device reads the bare text.
		alice.wait(alice.send("lamps", "off").ID, AtRelay)
		if err := device.AddParticipant(mustKey(alice.self().Key)); err != nil {
			t.Fatal(err)
		}
		if plain, err := device.Decode(b.log[len(b.log)-1]); err != nil || string(plain) != "off" {
			t.Fatalf("%q %v", plain, err)
		}
	})
}

type Key = []byte

// TestGroupSameID: another member cannot hide a message by using its ID.
func TestGroupSameID(t *testing.T) {
	inTopic(t, 5, func(w *world, b *bus) {
		t, ctx := w.t, context.Background()
		key := stringphone.GenerateTopicKey()
		var thieves []*stringphone.Member
		var trust []Key
		for range 2 {
			m, err := stringphone.Create(new(stringphone.Memory), stringphone.Setup{TopicKey: key, Name: "lamps"})
			if err != nil {
				t.Fatal(err)
			}
			thieves, trust = append(thieves, m), append(trust, m.PublicKey())
		}
		alice := w.phone(b, "alice")
		alice.enter(stringphone.Setup{TopicKey: key, Trust: trusted(trust)})
		mine := alice.send("lamps", "mine")
		alice.wait(mine.ID, AtRelay)
		raw := hexID(mine.ID)
		for i, m := range thieves {
			p, err := m.Seal(time.Now(), raw, []byte(fmt.Sprint("theirs ", i)))
			if err != nil {
				t.Fatal(err)
			}
			b.inject("home/lamps", p)
		}
		alice.hears("theirs 0", "theirs 1")
		if m, err := alice.m.Message(ctx, mine.ID); err != nil || m.Text != "mine" {
			t.Fatal(m, err)
		}
		if _, err := alice.m.Resend(ctx, mine.ID); err != nil {
			t.Fatal(err)
		}
		var got []string
		sub, cancel := context.WithCancel(ctx)
		alice.m.Listen(sub, "", func(m Message) error {
			if got = append(got, m.From); len(got) == 2 {
				cancel()
			}
			return nil
		})
		if got[0] == got[1] || got[0] != thieves[0].ID().String()[:8] {
			t.Fatal(got)
		}
	})
}

// TestGroupLogin: user and password are in the profile's secrets and nowhere else.
func TestGroupLogin(t *testing.T) {
	inTopic(t, 6, func(w *world, b *bus) {
		t, ctx := w.t, context.Background()
		alice := w.phone(b, "alice")
		o := topicOptions("lamps", stringphone.Setup{Found: true})
		o.Address = "bus://user:wrong@locked/lamps"
		if _, err := alice.m.AddConversation(ctx, o); !errors.Is(err, parley.ErrDenied) {
			t.Fatal(err)
		}
		if _, err := alice.m.Contact(ctx, "lamps"); !errors.Is(err, ErrNoContact) {
			t.Fatal("something is left: ", err)
		}
		// At a broker that is away it waits, and goes on by itself.
		b.setDown(true)
		o.Address = "bus://user:q0z9s3cr3t@locked/lamps"
		c, err := alice.m.AddConversation(ctx, o)
		if err != nil || c.State != connecting {
			t.Fatal(c, err)
		}
		id := alice.send("lamps", "hello").ID
		look := func() {
			s, err1 := alice.m.Status(ctx)
			q, err2 := alice.m.Queue(ctx)
			out, err3 := json.Marshal([]any{s, q, alice.contact("lamps")})
			if err := errors.Join(err1, err2, err3); err != nil || strings.Contains(string(out), "q0z9s3cr3t") || strings.Contains(string(out), "user") {
				t.Fatalf("%s %v", out, err)
			}
			var n int
			err = alice.p.DB().QueryRow("SELECT count(*) FROM paths WHERE address || relay || why LIKE '%q0z9s3cr3t%'").Scan(&n)
			if err != nil || n > 0 {
				t.Fatal(n, err)
			}
		}
		look()
		alice.stop()
		alice.start()
		look()
		b.setDown(false)
		alice.wait(id, AtRelay)
		w.until("it is connected", func() bool { return alice.contact("lamps").State == connected })
		look()
		if err := alice.m.Remove(ctx, "lamps"); err != nil {
			t.Fatal(err)
		}
		w.until("the session is deleted", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.sessions) == 0 })
	})
}

// TestGroupSetup: all of a conversation is made, or nothing.
func TestGroupSetup(t *testing.T) {
	inTopic(t, 7, func(w *world, b *bus) {
		t, ctx := w.t, context.Background()
		alice := w.phone(b, "alice")
		good := topicOptions("lamps", stringphone.Setup{Found: true})
		for what, change := range map[string]func(*ConversationOptions){
			"no name":          func(o *ConversationOptions) { o.Name = " " },
			"no setup":         func(o *ConversationOptions) { o.Setup = nil },
			"a broken setup":   func(o *ConversationOptions) { o.Setup = []byte{9, 9} },
			"a long setup":     func(o *ConversationOptions) { o.Setup = make([]byte, maxSetup+1) },
			"no such scheme":   func(o *ConversationOptions) { o.Address = "gopher://home/lamps" },
			"no scheme":        func(o *ConversationOptions) { o.Address = "lamps" },
			"no topic":         func(o *ConversationOptions) { o.Address = "bus://home" },
			"one sender's":     func(o *ConversationOptions) { o.Address = parleytest.FaultyScheme + "://one/x" },
			"no groups there":  func(o *ConversationOptions) { o.STP = parley.SMPBare },
			"pairs, no groups": func(o *ConversationOptions) { o.STP = parley.Ratchet },
		} {
			o := good
			change(&o)
			if _, err := alice.m.AddConversation(ctx, o); err == nil {
				t.Errorf("%s: no error", what)
			}
		}
		for _, table := range []string{"contacts", "devices", "lines", "paths", "conversations", "line_state"} {
			var n int
			if err := alice.p.DB().QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil || n != 0 {
				t.Error(table, n, err)
			}
		}
	})
}

// TestGroupPins: answers that are not to be taken say why, once.
func TestGroupPins(t *testing.T) {
	inTopic(t, 8, func(w *world, b *bus) {
		alice, bob := w.phone(b, "alice"), w.phone(b, "bob")
		alice.enter(stringphone.Setup{Found: true})
		other, _ := stringphone.NewSigner(stringphone.GenerateSeed())
		bob.enter(stringphone.Setup{Pins: trusted([]Key{other.PublicKey()})})
		self := bob.self()
		w.until("bob asks", func() bool { return len(alice.people()) == 2 })
		if _, err := alice.m.Admit(context.Background(), "lamps", self.ID); err != nil {
			w.t.Fatal(err)
		}
		// From now on Alice answers by herself whenever he asks.
		w.until("bob is told", func() bool { return len(bob.notices("lamps")) > 0 })
		<-time.After(time.Hour)
		if n := bob.notices("lamps"); len(n) != 1 || !strings.Contains(n[0], "pinned") || bob.contact("lamps").State != connecting {
			w.t.Fatalf("%q", n)
		}
	})
}

func trusted(keys []Key) (all []ed25519.PublicKey) {
	for _, k := range keys {
		all = append(all, k)
	}
	return all
}

func mustKey(s string) ed25519.PublicKey {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func hexID(s string) [16]byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return [16]byte(b)
}
