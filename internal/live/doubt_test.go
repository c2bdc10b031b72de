package live

import (
	"context"
	"crypto/ed25519"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"parley/secure/stringphone"
)

func settleAfter(d time.Duration, missed bool) func(context.Context) bool {
	return func(ctx context.Context) bool {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return missed
	}
}

// Who was away while somebody was removed finds the news at the broker. What it
// says first must not be sealed before it has read them.
func TestFirstTextAfterARemoval(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, mallory := threeOf(t, b, mode)
		bob.stop()
		if err := alice.s.Remove(mallory.status().ID); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		bob.again(func(o *Options) {
			o.Channel = port{b: b, name: "bob", slow: time.Second}
			o.Settle = settleAfter(2*time.Second, false)
		})
		bob.say("not for mallory")
		pass(time.Minute)
		alice.want("not for mallory")
		mallory.want()
	})
}

// If the broker may have lost the news, a member is asked for the present key
// before anything is sealed, however long that takes; unless the user says that
// it must go out.
func TestMissedNewsHoldBack(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, mallory := threeOf(t, b, mode)
		bob.stop()
		b.forget("bob")
		if err := alice.s.Remove(mallory.status().ID); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		alice.stop()
		bob.again(func(o *Options) { o.Settle = settleAfter(time.Second, true) })
		bob.say("not for mallory")
		pass(time.Hour)
		mallory.want()
		if st := bob.status(); st.Outbox != 1 || st.Joined {
			t.Fatalf("bob: %+v", st)
		}
		alice.start()
		pass(time.Minute)
		alice.want("not for mallory")
		mallory.want()
		if st := bob.status(); st.Outbox != 0 || !st.Joined {
			t.Fatalf("bob: %+v", st)
		}
	})
}

func TestUnsureGoesOut(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, mallory := threeOf(t, b, mode)
		alice.stop()
		mallory.stop()
		bob.again(func(o *Options) { o.Settle, o.Unsure = settleAfter(time.Second, true), true })
		bob.say("now or never")
		pass(time.Minute)
		if st := bob.status(); st.Outbox != 0 {
			t.Fatalf("bob: %+v", st)
		}
		alice.start()
		alice.want("now or never")
	})
}

// With forward secrecy each answer is a new key for all. Whoever plays old
// introductions again gets each answered once at most, by who was not there then.
func TestRecordedIntroduction(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, carol := threeOf(t, b, mode)
		if mode == stringphone.Plain {
			for _, p := range []*party{alice, bob, carol} {
				for _, q := range []*party{alice, bob, carol} {
					if err := p.s.Trust(q.status().Key); err != nil && p != q {
						t.Fatal(err)
					}
				}
			}
		}
		for _, p := range []*party{alice, bob, carol} { // each is heard under the present key
			p.say("I am " + p.name)
		}
		for _, p := range []*party{alice, bob, carol} {
			p.heard()
		}
		log := slices.Clone(b.log)
		replay := func() uint32 {
			for _, packet := range log {
				b.say(packet, false)
			}
			pass(time.Minute)
			return alice.status().Epoch
		}
		// Whoever came later has not seen that an older introduction was answered.
		start := alice.status().Epoch
		replay()
		replay()
		settled := replay()
		if mode == stringphone.Headed && settled != start || settled > start+2 {
			t.Errorf("the topic is in epoch %d, was in %d", settled, start)
		}
		for range 3 {
			if now := replay(); now != settled {
				t.Errorf("epoch %d has become %d", settled, now)
			}
		}
		alice.say("one")
		bob.want("one")
		carol.want("one")
		bob.say("two")
		alice.want("two")
		carol.want("two")
	})
}

// Strangers who ask in their hundreds keep nobody out.
func TestFloodOfStrangers(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		allowed := bob.status().ID
		bob.stop()
		b.forget("bob")
		alice.o.Admit = func(_ context.Context, r Request) Verdict {
			if r.ID == allowed {
				return Yes
			}
			return Later // nobody is at the terminal
		}
		alice.start()
		for range 5 * maxAsking {
			stranger, err := stringphone.NewTopic(stringphone.Options{Seed: stringphone.GenerateSeed()})
			if err != nil {
				t.Fatal(err)
			}
			b.say(stranger.ConstructIntro(), false)
		}
		pass(time.Minute)
		if n := len(alice.status().Asking); n != maxAsking {
			t.Errorf("%d requests wait, the bound is %d", n, maxAsking)
		}
		bob.start()
		pass(time.Minute)
		if !bob.status().Joined {
			t.Fatal("bob was kept out")
		}
	})
}

// Texts that cannot be sealed any more wait; they end nothing, and go out when
// their writer is let in again, which it may ask for.
func TestRemovedComesBack(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, mallory := threeOf(t, b, mode)
		mallory.stop()
		if err := alice.s.Remove(mallory.status().ID); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		b.setDown(true)
		mallory.again(func(o *Options) { o.Settle = settleAfter(time.Second, false) })
		mallory.say("from before")
		b.setDown(false)
		mallory.stop()
		mallory.start()
		pass(10 * time.Minute)
		if st := mallory.status(); !st.Removed || st.Outbox != 1 {
			t.Fatalf("mallory: %+v", st)
		}
		alice.want()
		if err := mallory.stop(); err != nil {
			t.Fatalf("the text ended the session: %v", err)
		}
		mallory.again(func(o *Options) { o.Rejoin = true })
		alice.again(func(o *Options) { o.Admit, _ = always(Yes) })
		pass(time.Minute)
		alice.want("from before")
		bob.want("from before")
		alice.say("welcome back")
		mallory.want("welcome back")
	})
}

// Two are removed one after the other, and come back one after the other: the second
// has not heard that the first is back, and learns it as it comes in.
func TestTwoComeBack(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, carol := threeOf(t, b, mode)
		for _, p := range []*party{bob, carol} {
			if err := alice.s.Remove(p.status().ID); err != nil {
				t.Fatal(err)
			}
			pass(2 * time.Minute)
		}
		alice.again(func(o *Options) { o.Admit, _ = always(Yes) })
		for _, p := range []*party{bob, carol} {
			p.again(func(o *Options) { o.Rejoin = true })
			pass(12 * time.Minute)
		}
		all := []*party{alice, bob, carol}
		for _, p := range all {
			p.again(func(o *Options) { o.Admit, o.Rejoin = nil, false })
			p.heard()
		}
		for range 2 {
			for _, p := range all {
				p.say("from " + p.name)
				pass(time.Minute)
				for _, q := range all {
					if q != p {
						q.want("from " + p.name)
					}
				}
			}
			if err := carol.s.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Pins and leave for unsigned answers, given later than the state was made, hold.
func TestAnsweredByHoldsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: stringphone.Headed, Found: true}).open()
		mallory := newParty(t, b, "mallory", stringphone.Setup{Mode: stringphone.Headed, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).start() // whom to believe is asked of nobody
		bob.stop()
		b.forget("bob")
		alice.start() // for its key
		alice.stop()
		if err := bob.s.AnsweredBy([]ed25519.PublicKey{alice.status().Key}, false); err != nil {
			t.Fatal(err)
		}
		bob.start()
		pass(10 * time.Minute)
		if bob.status().HasKey {
			t.Fatal("bob took mallory's key")
		}
		mallory.stop()
		alice.start()
		pass(time.Minute)
		if !bob.status().Joined {
			t.Fatal("bob has not joined")
		}
		alice.say("it is me")
		bob.want("it is me")
	})
}

// A key holder of the original's kind vouches for nothing. Whoever joins through it
// on a person's word hears it from then on.
func TestOriginalKeyHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus()
		holder, err := stringphone.NewTopic(stringphone.Options{Seed: stringphone.GenerateSeed(), TopicKey: stringphone.GenerateTopicKey()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go port{b: b, name: "holder"}.Receive(ctx, func(packet []byte, _ bool) error {
			if reply, err := holder.ConstructUnsignedReply(packet); err == nil {
				b.say(reply, false)
			}
			return nil
		})
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(10 * time.Minute)
		if bob.status().HasKey {
			t.Fatal("bob took an unsigned answer that nobody allowed")
		}
		bob.stop()
		if err := bob.s.AnsweredBy(nil, true); err != nil {
			t.Fatal(err)
		}
		bob.start()
		pass(time.Minute)
		if !bob.status().Joined {
			t.Fatal("bob has not joined")
		}
		packet, err := holder.Encode([]byte("21.5"))
		if err != nil {
			t.Fatal(err)
		}
		b.say(packet, false)
		bob.want("21.5")
	})
}
