package live

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/secure/stringphone"
)

var modes = []stringphone.Mode{stringphone.Plain, stringphone.Headed, stringphone.ForwardSecret}

func eachMode(t *testing.T, do func(t *testing.T, mode stringphone.Mode)) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { do(t, mode) })
		})
	}
}

// The one with the topic key starts last: who asked before is answered then.
func TestWhoeverStartsLast(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(5 * time.Minute)
		if bob.joined != 0 || bob.status().Joined {
			t.Fatal("joined without anybody")
		}
		b.forget("bob") // not even a persistent session is needed
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob.stop()
		bob.start()
		pass(time.Minute)
		if !bob.status().Joined || bob.status().Mode != mode || bob.joined != 1 {
			t.Fatalf("bob: %+v", bob.status())
		}
		alice.say("hello")
		bob.want("hello")
		bob.say("hi")
		alice.want("hi")
	})
}

func TestThreeTalk(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		carol := newParty(t, b, "carol", stringphone.Setup{}).open().start()
		pass(time.Minute)
		if mode == stringphone.Plain { // there nobody vouches for anybody
			for _, p := range []*party{alice, bob, carol} {
				for _, q := range []*party{alice, bob, carol} {
					if err := p.s.Trust(q.status().Key); err != nil && p != q {
						t.Fatal(err)
					}
				}
			}
		}
		for i := range 10 {
			for _, p := range []*party{alice, bob, carol} {
				p.say(fmt.Sprint(p.name, i))
			}
		}
		for _, p := range []*party{alice, bob, carol} {
			var want []string
			for i := range 10 {
				for _, q := range []string{"alice", "bob", "carol"} {
					if q != p.name {
						want = append(want, fmt.Sprint(q, i))
					}
				}
			}
			p.want(want...)
		}
	})
}

func TestRemovedReadsNothingNewer(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, mallory := threeOf(t, b, mode)
		alice.say("all of you")
		bob.want("all of you")
		mallory.want("all of you")
		deny, _ := always(No)
		for _, p := range []*party{alice, bob} {
			p.again(func(o *Options) { o.Admit = deny })
		}
		if err := alice.s.Remove(mallory.status().ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		alice.say("without mallory")
		bob.want("without mallory")
		bob.say("indeed")
		alice.want("indeed")
		pass(10 * time.Minute)
		mallory.want()
		if err := mallory.s.Say([]byte("still here"), false); err == nil {
			synctest.Wait()
		}
		alice.want()
		bob.want()
	})
}

// A question at the terminal may stay unanswered for hours: messages go on.
func TestAQuestionBlocksNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(time.Minute)
		answer := make(chan Verdict)
		asked := 0
		alice.stop()
		alice.o.Admit = func(ctx context.Context, _ Request) Verdict {
			asked++
			select {
			case v := <-answer:
				return v
			case <-ctx.Done():
				return Later
			}
		}
		alice.start()
		bob.o.Admit = nil
		bob.stop()
		bob.start()
		carol := newParty(t, b, "carol", stringphone.Setup{}).open().start()
		pass(time.Hour)
		bob.say("meanwhile")
		alice.want("meanwhile")
		if carol.status().Joined || asked != 1 {
			t.Fatalf("joined: %v, asked %d times", carol.status().Joined, asked)
		}
		if !bob.saw(NoteRequest) {
			t.Error("nobody told bob, who cannot decide")
		}
		answer <- Yes
		pass(time.Minute)
		if !carol.status().Joined {
			t.Fatal("carol was let in and has no key")
		}
		alice.say("welcome")
		// Where a topic key serves for many messages, a new member opens those that it
		// heard before it had the key.
		if got := carol.heard(); len(got) == 0 || got[len(got)-1] != "welcome" || mode == stringphone.ForwardSecret && len(got) > 1 {
			t.Errorf("carol heard %q", got)
		}
	})
}

func TestDeniedIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: stringphone.Headed, Found: true})
		asked := 0
		alice.o.Admit = func(context.Context, Request) Verdict { asked++; return No }
		alice.start()
		mallory := newParty(t, b, "mallory", stringphone.Setup{}).open().start()
		pass(time.Hour)
		if asked != 1 || mallory.status().Joined {
			t.Errorf("asked %d times", asked)
		}
	})
}

// One payload that is not of this protocol stopped every participant of the
// original's example.
func TestGarbageStopsNobody(t *testing.T) {
	for _, hexed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBus()
			alice := newParty(t, b, "alice", stringphone.Setup{Found: true}).open()
			bob := newParty(t, b, "bob", stringphone.Setup{}).open()
			alice.o.Hex, bob.o.Hex = hexed, hexed
			alice.start()
			bob.start()
			pass(time.Second)
			garbage := []string{"", "i", "r", "s", "zz", "not hex at all", "\x00\xff", "m123", string(make([]byte, 500))}
			for _, g := range garbage {
				if hexed {
					b.say([]byte(g), false)
					g = hex.EncodeToString([]byte(g))
				}
				b.say([]byte(g), false)
			}
			pass(time.Minute)
			alice.say("still here")
			bob.want("still here")
			if n := alice.s.Counts().Foreign; n < len(garbage) {
				t.Errorf("%d payloads were counted", n)
			}
		})
	}
}

// What could not be shown is not acknowledged, and is shown later.
func TestShowFails(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(time.Minute)
		show := bob.o.Show
		full := errors.New("the disk is full")
		bob.stop()
		bob.o.Show = func(Message) error { return full }
		bob.start()
		alice.say("one")
		if err := bob.stop(); !errors.Is(err, full) {
			t.Fatalf("Run ended with %v", err)
		}
		alice.say("two")
		bob.o.Show = show
		bob.start()
		bob.want("one", "two")
	})
}

// What was said while the broker was away goes out later, by another process too.
func TestSaidWhileTheBrokerIsAway(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(time.Minute)
		b.setDown(true)
		alice.say("one")
		alice.say("two")
		pass(time.Minute)
		alice.stop()
		bob.want()
		b.setDown(false)
		alice.start()
		pass(time.Minute)
		bob.want("one", "two")
		if n := alice.status().Outbox; n != 0 {
			t.Errorf("%d in the outbox", n)
		}
	})
}

// A stored message can be opened by who comes later, is shown again on request,
// and is said again under a new key.
func TestRetained(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(time.Minute)
		if err := alice.s.Say([]byte("21 degrees"), true); err != nil {
			t.Fatal(err)
		}
		bob.want("21 degrees")
		bob.stop()
		b.forget("bob")
		bob.start()
		bob.want() // seen
		bob.stop()
		b.forget("bob")
		bob.o.Retained = true
		bob.start()
		bob.want("21 degrees (stored)")
		if mode != stringphone.Plain {
			if err := alice.s.Rotate(); err != nil {
				t.Fatal(err)
			}
			bob.want("21 degrees")
		}
		carol := newParty(t, b, "carol", stringphone.Setup{}).open().start()
		pass(time.Minute)
		if mode == stringphone.Plain { // there it may have been bob who let her in
			if err := carol.s.Trust(alice.status().Key); err != nil {
				t.Fatal(err)
			}
		}
		got := carol.heard()
		if len(got) == 0 || got[len(got)-1] != "21 degrees" && got[len(got)-1] != "21 degrees (stored)" {
			t.Errorf("carol came later and heard %q", got)
		}
	})
}

// A message of somebody who is not trusted yet waits.
func TestUntrustedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus()
		key := stringphone.GenerateTopicKey()
		alice := newParty(t, b, "alice", stringphone.Setup{TopicKey: key}).start()
		bob := newParty(t, b, "bob", stringphone.Setup{TopicKey: key}).start()
		bob.say("do you know me?")
		bob.say("no?")
		alice.want()
		if !alice.saw(NoteUntrusted) || alice.s.Counts().Untrusted != 2 {
			t.Error("not told")
		}
		if err := alice.s.Trust(bob.status().Key); err != nil {
			t.Fatal(err)
		}
		alice.want("do you know me?", "no?")
		bob.say("at last")
		alice.want("at last")
	})
}

// Who was away while the topic got new keys asks again and is answered without
// anybody's being asked: it is a member.
func TestMissedRotations(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(time.Minute)
		alice.again(func(o *Options) { o.Admit = nil })
		bob.stop()
		b.forget("bob")
		for range 4 {
			if err := alice.s.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Minute)
		bob.start()
		alice.say("under the newest key")
		pass(5 * time.Minute)
		bob.heard() // with forward secrecy it stays closed: nobody has its key any more
		alice.say("and now")
		bob.want("and now")
		bob.say("thanks")
		alice.want("thanks")
	})
}

// Who was away for many rotations follows them all, if the broker has kept them,
// and reads what was said in each epoch.
func TestManyRotationsWhileAway(t *testing.T) {
	eachRotating(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice, bob, carol := threeOf(t, b, mode)
		bob.stop()
		var want []string
		for i := range 10 {
			for _, p := range []*party{alice, carol} {
				if err := p.s.Rotate(); err != nil {
					t.Fatal(err)
				}
				pass(time.Second)
				text := fmt.Sprint(p.name, i)
				p.say(text)
				want = append(want, text)
			}
		}
		bob.start()
		bob.want(want...)
		bob.say("I have read it all")
		alice.heard()
		carol.heard()
		if epoch := alice.status().Epoch; bob.status().Epoch != epoch || !bob.status().Joined {
			t.Errorf("bob: %+v, alice is in epoch %d", bob.status(), epoch)
		}
		for i := range 5 {
			if err := alice.s.Rotate(); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
			text := fmt.Sprint("later", i)
			bob.say(text)
			alice.want(text)
			carol.want(text)
		}
	})
}

// Two processes of one member publish what is in the outbox once, however long it
// takes: devices of the original's kind would take a second one for a new message.
func TestPublishedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: stringphone.Plain, Found: true}).open()
		one := make(chan struct{}, 1)
		alice.o.Alone = func(ctx context.Context) (func(), error) {
			select {
			case one <- struct{}{}:
				return func() { <-one }, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		alice.o.Channel = port{b: b, name: "alice", publish: time.Minute}
		alice.start()
		o := alice.o
		o.Channel, o.Show = port{b: b, name: "alice-talk", publish: time.Minute}, nil
		other, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { other.Run(ctx) })
		for i := range 3 {
			if err := other.Say(fmt.Append(nil, "o", i), false); err != nil {
				t.Fatal(err)
			}
			alice.say(fmt.Sprint("a", i))
		}
		pass(time.Hour)
		cancel()
		wg.Wait()
		if len(b.log) != 6 {
			t.Errorf("6 texts were published %d times", len(b.log))
		}
	})
}

// One process publishes while another listens, on the same state.
func TestTwoProcessesOfOneMember(t *testing.T) {
	eachMode(t, func(t *testing.T, mode stringphone.Mode) {
		b := newBus()
		alice := newParty(t, b, "alice", stringphone.Setup{Mode: mode, Found: true}).open().start()
		bob := newParty(t, b, "bob", stringphone.Setup{}).open().start()
		pass(time.Minute)
		o := alice.o
		o.Channel, o.Show = port{b: b, name: "alice-talk"}, nil
		other, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { other.Run(ctx) })
		for i := range 20 {
			if err := other.Say(fmt.Append(nil, "o", i), false); err != nil {
				t.Fatal(err)
			}
			alice.say(fmt.Sprint("a", i))
			bob.say(fmt.Sprint("b", i))
		}
		pass(time.Second)
		cancel()
		wg.Wait()
		if n := len(bob.heard()); n != 40 {
			t.Errorf("bob heard %d of 40", n)
		}
		if n := len(alice.heard()); n != 20 {
			t.Errorf("alice heard %d of 20", n)
		}
	})
}
