package messenger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
	"parley/secure/ratchet"
	"parley/secure/stringphone"
)

// inTopic runs a test in fake time with a broker.
func inTopic(t *testing.T, seed uint64, do func(w *world, b *bus)) {
	inBubble(t, seed, func(w *world) { do(w, newBus(seed)) })
}

// phone makes a person whose messenger reaches the broker.
func (w *world) phone(b *bus, name string) *person {
	p := w.person(name, "one")
	p.change = func(o *Options) {
		var r parley.Registry
		r.Carrier(parleytest.FaultyScheme, w.net)
		r.Carrier("bus", b)
		r.Transport(parley.Ratchet, ratchet.New())
		r.Transport(parley.StringPhone, stringphone.New())
		o.Registry, o.Groups = &r, phones{}
		o.Words = func(n []byte) SafetyNumber {
			return SafetyNumber{Words: []string{fmt.Sprintf("w%x", n[:4]), fmt.Sprintf("x%x", n[4:8])}, Digits: fmt.Sprintf("%x", n)}
		}
	}
	p.stop()
	p.start()
	return p
}

const at = "bus://home/lamps"

func topicOptions(name string, s stringphone.Setup) ConversationOptions {
	s.Name = "lamps"
	setup, err := s.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return ConversationOptions{Name: name, STP: parley.StringPhone, Bare: true, Address: at, Setup: setup}
}

func (p *person) enter(s stringphone.Setup) Contact {
	p.w.t.Helper()
	c, err := p.m.AddConversation(context.Background(), topicOptions("lamps", s))
	if err != nil {
		p.w.t.Fatalf("%s: %v", p.name, err)
	}
	return c
}

func (p *person) people() (all []Person) {
	p.w.t.Helper()
	all, err := p.m.People(context.Background(), "lamps")
	if err != nil {
		p.w.t.Fatalf("%s: %v", p.name, err)
	}
	return all
}

func (p *person) self() Person { return p.people()[0] }

// admits lets q in as soon as it asks, and waits until it is in.
func (p *person) admits(q *person) {
	p.w.t.Helper()
	self := q.self()
	p.w.until(q.name+" asks "+p.name, func() bool {
		return slices.ContainsFunc(p.people(), func(o Person) bool { return o.ID == self.ID && o.State == "asks" })
	})
	if _, err := p.m.Admit(context.Background(), "lamps", strings.ToUpper(strings.Join(self.Words, "-"))); err != nil {
		p.w.t.Fatal(err)
	}
	p.w.until(q.name+" is in", func() bool { return q.contact("lamps").State == connected })
}

// trio makes three who are in a topic and have heard "before" of the first, who has
// let the others in.
func (w *world) trio(b *bus, mode stringphone.Mode) (alice, bob, carol *person) {
	w.t.Helper()
	alice, bob, carol = w.phone(b, "alice"), w.phone(b, "bob"), w.phone(b, "carol")
	alice.enter(stringphone.Setup{Found: true, Mode: mode})
	bob.enter(stringphone.Setup{})
	alice.admits(bob)
	carol.enter(stringphone.Setup{})
	alice.admits(carol)
	alice.wait(alice.send("lamps", "before").ID, AtRelay)
	bob.hears("before")
	carol.hears("before")
	return alice, bob, carol
}

func (p *person) hears(texts ...string) {
	p.w.t.Helper()
	p.w.until(fmt.Sprintf("%s hears %q", p.name, texts), func() bool { return slices.Equal(p.texts("lamps"), texts) })
}

func TestGroup(t *testing.T) {
	for _, mode := range []stringphone.Mode{stringphone.Plain, stringphone.Headed, stringphone.ForwardSecret} {
		t.Run(mode.String(), func(t *testing.T) {
			inTopic(t, 1, func(w *world, b *bus) { testGroup(w, b, mode) })
		})
	}
}

func testGroup(w *world, b *bus, mode stringphone.Mode) {
	t, ctx := w.t, context.Background()
	alice, bob := w.phone(b, "alice"), w.phone(b, "bob")
	if c := bob.enter(stringphone.Setup{}); c.State != connecting || c.Protocol != "string-phone" || c.Members != 1 || c.Receipts != "none" {
		t.Fatalf("%+v", c)
	}
	early := bob.send("lamps", "written before anybody was there").ID
	<-time.After(10 * time.Minute) // nobody hears the first introductions
	bob.stop()
	bob.start()
	if c := alice.enter(stringphone.Setup{Found: true, Mode: mode}); c.State != connected || c.Mode != mode.String() {
		t.Fatalf("%+v", c)
	}
	alice.admits(bob)
	bob.wait(early, AtRelay)
	alice.hears("written before anybody was there")

	n := alice.notices("lamps")
	if len(n) != 1 || !strings.Contains(n[0], "parley topic admit lamps "+bob.self().ID[:8]) || !strings.Contains(n[0], strings.Join(bob.self().Words, " ")) {
		t.Fatalf("%q", n)
	}
	if n := bob.notices("lamps"); len(n) != 1 || !strings.Contains(n[0], strings.Join(alice.self().Words, " ")) {
		t.Fatalf("%q", n)
	}

	alice.wait(alice.send("lamps", "on").ID, AtRelay)
	bob.hears("on")
	h, err := bob.m.History(ctx, "lamps", 1)
	if err != nil || h[0].From != alice.self().ID[:8] || h[0].Direction != "in" {
		t.Fatalf("%+v %v", h, err)
	}
	if _, err := bob.m.NamePerson(ctx, "lamps", alice.self().ID[:6], "Alice"); err != nil {
		t.Fatal(err)
	}
	if h, _ = bob.m.History(ctx, "lamps", 1); h[0].From != "Alice" {
		t.Fatalf("%+v", h)
	}
	if s, _ := bob.m.Status(ctx); s.Unread != 1 || s.Dropped != 0 {
		t.Fatalf("%+v", s)
	}
	// Shown once, with who wrote it; nobody is told.
	sub, cancel := context.WithCancel(ctx)
	var got []Message
	bob.m.Listen(sub, "", func(m Message) error { got = append(got, m); cancel(); return nil })
	if len(got) != 1 || got[0].From != "Alice" || bob.contact("lamps").Unread != 0 {
		t.Fatalf("%+v", got)
	}
	if _, err := alice.m.Wait(ctx, early[:8], AtDevice); !errors.Is(err, ErrState) {
		t.Fatal(err)
	}

	// A third one, let in by Bob.
	carol := w.phone(b, "carol")
	carol.enter(stringphone.Setup{})
	bob.admits(carol)
	carol.wait(carol.send("lamps", "I am new").ID, AtRelay)
	bob.hears("on", "I am new")
	if mode == stringphone.Plain {
		// Nobody vouches there: Alice decides by herself.
		w.until("Alice is told", func() bool { return len(alice.notices("lamps")) == 3 })
		if got := alice.texts("lamps"); len(got) != 1 {
			t.Fatal(got)
		}
		if p, err := alice.m.Admit(ctx, "lamps", carol.self().Key); err != nil || p.State != "member" {
			t.Fatal(p, err)
		}
	}
	alice.hears("written before anybody was there", "I am new")
	w.until("nothing waits", func() bool {
		for _, p := range []*person{alice, bob, carol} {
			var n int
			if err := p.p.DB().QueryRow("SELECT (SELECT count(*) FROM packets) + (SELECT count(*) FROM intents) + (SELECT count(*) FROM inbox)").Scan(&n); err != nil || n > 0 {
				return false
			}
		}
		return true
	})
	c := carol.contact("lamps")
	all := strings.Join(append(c.Promises, c.Lacks...), "; ")
	for _, want := range []string{"every member reads all", "can be proven to others", "no receipts"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q lacks %q", all, want)
		}
	}
	if forward := slices.Contains(c.Promises, "stolen keys do not open old messages"); forward != (mode == stringphone.ForwardSecret) {
		t.Errorf("%q", c.Promises)
	}
	for _, err := range []error{
		alice.m.SetReceipts(ctx, "lamps", "read"),
		second(alice.m.SafetyNumber(ctx, "lamps")),
		second(alice.m.Invite(ctx, InviteOptions{As: "lamps"})),
		second(alice.m.Admit(ctx, "lamps", bob.self().ID)),
		second(alice.m.Admit(ctx, "lamps", "nobody")),
		second(alice.m.Expel(ctx, "lamps", alice.self().ID)),
		second(alice.m.NamePerson(ctx, "lamps", "xyz", "x")),
		second(alice.m.AddConversation(ctx, topicOptions("Lamps", stringphone.Setup{}))),
		second(alice.m.AddConversation(ctx, topicOptions("the same topic", stringphone.Setup{}))),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestGroupBeforeWeWereIn: what came while we had no key is shown when we have one.
func TestGroupBeforeWeWereIn(t *testing.T) {
	inTopic(t, 9, func(w *world, b *bus) {
		alice, bob := w.phone(b, "alice"), w.phone(b, "bob")
		alice.enter(stringphone.Setup{Found: true, Mode: stringphone.Headed})
		bob.enter(stringphone.Setup{})
		alice.wait(alice.send("lamps", "one").ID, AtRelay)
		w.until("it waits", func() bool { s, _ := bob.m.Status(context.Background()); return s.Waiting == 1 })
		alice.admits(bob)
		bob.hears("one")
	})
}

// TestGroupAnswersOnce: introductions that crossed the answer cause nothing; later
// ones say that the answer got lost.
func TestGroupAnswersOnce(t *testing.T) {
	inTopic(t, 10, func(w *world, b *bus) {
		t := w.t
		alice, bob := w.phone(b, "alice"), w.phone(b, "bob")
		alice.enter(stringphone.Setup{Found: true, Mode: stringphone.ForwardSecret})
		bob.enter(stringphone.Setup{})
		alice.admits(bob)
		carol := w.phone(b, "carol") // knows Bob by Alice's word only
		carol.enter(stringphone.Setup{})
		alice.admits(carol)
		count := func(kind byte) (n int, last []byte) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, p := range b.log {
				if len(p) > 0 && p[0] == kind {
					n++
					if last == nil {
						last = p
					}
				}
			}
			return n, last
		}
		answers, _ := count('r')
		_, intro := count('i')
		alice.stop()
		alice.start()
		b.inject("home/lamps", intro, intro)
		<-time.After(time.Minute)
		if n, _ := count('r'); n != answers {
			t.Fatalf("%d answers more", n-answers)
		}
		<-time.After(answerRest)
		b.inject("home/lamps", intro)
		w.until("an answer", func() bool { n, _ := count('r'); return n > answers })
	})
}

// poster is a transport whose messages need something that comes before them.
type poster struct{ *stringphone.Transport }

func (p poster) Seal(ctx context.Context, c *parley.Conversation, m *parley.Message) ([]byte, error) {
	packet, err := p.Transport.Seal(ctx, c, m)
	c.Post([]byte("key"))
	return packet, err
}

func TestGroupPostsFirst(t *testing.T) {
	inTopic(t, 11, func(w *world, b *bus) {
		alice := w.phone(b, "alice")
		change := alice.change
		alice.change = func(o *Options) { change(o); o.Registry.Secure[parley.StringPhone] = poster{stringphone.New()} }
		alice.stop()
		alice.start()
		alice.enter(stringphone.Setup{Found: true})
		alice.wait(alice.send("lamps", "x").ID, AtRelay)
		if len(b.log) != 2 || string(b.log[0]) != "key" {
			w.t.Fatalf("%q", b.log)
		}
	})
}

// TestGroupExpel: who was expelled reads nothing newer and is told; where the mode
// cannot do that, its messages are not taken any more.
func TestGroupExpel(t *testing.T) {
	for _, mode := range []stringphone.Mode{stringphone.Plain, stringphone.Headed, stringphone.ForwardSecret} {
		t.Run(mode.String(), func(t *testing.T) {
			inTopic(t, 2, func(w *world, b *bus) {
				t, ctx := w.t, context.Background()
				alice, bob, carol := w.trio(b, mode)
				p, err := alice.m.Expel(ctx, "lamps", bob.self().ID)
				if err != nil {
					t.Fatal(err)
				}
				if mode != stringphone.Plain { // until then Carol may still hear him
					w.until("Carol has heard of it", func() bool {
						people, err := carol.m.People(ctx, "lamps")
						return err == nil && !slices.ContainsFunc(people, func(q Person) bool { return q.ID == p.ID && q.State == "member" })
					})
				}
				bob.m.Send(ctx, "lamps", "let me in")
				alice.wait(alice.send("lamps", "after").ID, AtRelay)
				carol.hears("before", "after")
				<-time.After(time.Minute)
				if got := alice.texts("lamps"); len(got) != 0 {
					t.Fatal(got)
				}
				if mode == stringphone.Plain {
					if p.State != "distrusted" {
						t.Fatal(p)
					}
					return
				}
				if p.State != "expelled" || len(bob.texts("lamps")) != 1 {
					t.Fatal(p, bob.texts("lamps"))
				}
				w.until("Bob is told", func() bool {
					return strings.Contains(strings.Join(bob.notices("lamps"), ""), "has removed you")
				})
				if _, err := bob.m.Send(ctx, "lamps", "x"); !errors.Is(err, ErrState) || bob.self().State != "removed" {
					t.Fatal(err, bob.self())
				}
				// He does not ask again by himself, whatever comes; a new conversation does.
				alice.wait(alice.send("lamps", "among us").ID, AtRelay)
				<-time.After(time.Hour)
				bob.stop()
				bob.start()
				<-time.After(time.Hour)
				asks := func() bool {
					return slices.ContainsFunc(alice.people(), func(o Person) bool { return o.State == "asks" })
				}
				if asks() {
					t.Fatal("the expelled one asks by himself")
				}
				if _, err := bob.m.AddConversation(ctx, topicOptions("again", stringphone.Setup{})); err != nil {
					t.Fatal(err)
				}
				w.until("Bob asks", asks)
			})
		})
	}
}
