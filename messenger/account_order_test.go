package messenger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley"
)

// TestAccountTwoChanges: the directory offers other keys, and then others again, before
// the user decides. What waits under the first ones is not dropped without a word.
func TestAccountTwoChanges(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		u.publish("alice", 2)
		<-time.After(time.Minute)
		for i := range 5 {
			b.inject("home/bob", letter(t, "alice", "bob", fmt.Sprint("second ", i), 2, time.Now()))
		}
		w.until("change", func() bool { return bob.contact("alice").KeyChanged })
		u.publish("alice", 3)
		<-time.After(25 * time.Hour)
		b.inject("home/bob", letter(t, "alice", "bob", "third", 3, time.Now()))
		<-time.After(time.Minute)
		if s, err := bob.m.Status(t.Context()); err != nil || s.Waiting != 6 {
			t.Errorf("%+v, %v", s, err)
		}
		if err := bob.verify("alice", true); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		if got := bob.texts("alice"); !slices.Equal(got, []string{"third"}) {
			t.Errorf("%q", got)
		}
		h, err := bob.m.History(t.Context(), "alice", 0)
		if err != nil || !slices.ContainsFunc(h, func(m Message) bool { return strings.Contains(m.Text, "for which you did not decide") }) {
			t.Errorf("dropped without a word: %v", err)
		}
	})
}

// TestAccountStaleNumber: what was said of a number that is not the present one is
// about nothing, in either direction.
func TestAccountStaleNumber(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		before, err := bob.m.SafetyNumber(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		u.publish("alice", 2)
		<-time.After(25 * time.Hour)
		w.until("change", func() bool { return bob.contact("alice").KeyChanged })
		for _, same := range []bool{true, false} {
			if err := bob.m.SetVerified(t.Context(), before, same); !errors.Is(err, ErrCompareAgain) {
				t.Errorf("%v: %v", same, err)
			}
		}
		if c := bob.contact("alice"); c.NewKey == nil || !c.KeyChanged {
			t.Errorf("%+v", c)
		}
	})
}

// TestAccountBounds: what nobody has verified takes little room, equal packets take it
// once, and many made-up names push out none that was there before.
func TestAccountBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of packets")
	}
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := w.user(b, u, "bob", 1)
		u.set(true, 0)
		u.publish("friend", 2)
		u.publish("alice", 0)
		if _, err := bob.m.AddPeer(t.Context(), PeerOptions{Kind: "users", User: "alice"}); err != nil {
			t.Fatal(err)
		}
		b.inject("home/bob", letter(t, "friend", "bob", "genuine", 2, time.Now()))
		<-time.After(time.Minute)
		one := letter(t, "alice", "bob", "from alice", 0, time.Now())
		for i := range maxKeyless + 50 {
			b.inject("home/bob", letter(t, "alice", "bob", fmt.Sprint("forged ", i), 3, time.Now()))
		}
		for i := range maxStrangers + 50 {
			b.inject("home/bob", letter(t, fmt.Sprint("made-up-", i), "bob", "x", 3, time.Now()), one)
		}
		<-time.After(time.Minute)
		if s, err := bob.m.Status(t.Context()); err != nil || s.Waiting > maxKeyless+maxStrangers {
			t.Errorf("%+v, %v", s, err)
		}
		var copies int
		if err := bob.m.tx(context.Background(), "test", func(t *tx) error {
			return t.row("SELECT max(n) FROM (SELECT count(*) n FROM inbox GROUP BY digest)")(&copies)
		}); err != nil || copies != 1 {
			t.Errorf("%d copies of one packet wait, %v", copies, err)
		}
		var names int
		if err := bob.m.tx(context.Background(), "test", func(t *tx) error { return t.row("SELECT count(*) FROM strangers")(&names) }); err != nil || names > maxStrangers+1 {
			t.Errorf("%d names, %v", names, err)
		}
		u.set(false, 0)
		w.until("both", func() bool {
			return slices.Equal(bob.texts("alice"), []string{"from alice"}) && bob.contact("friend").Name != "" && slices.Equal(bob.texts("friend"), []string{"genuine"})
		})
	})
}

// turning is users with a directory that refuses a rotation after a while, and answers
// badly when it is told to.
type turning struct {
	*users
	bad  *atomic.Bool
	busy *atomic.Int32 // rotations under way
	most *atomic.Int32
}

func (u turning) Describe(b parley.Bucket) SystemAccount {
	return SystemAccount{Directory: "here", Rotating: b.Get("next") != nil}
}
func (u turning) NextKeys(b parley.Bucket, s []byte) error { b.Put("next", s); return nil }
func (u turning) Unchanged(b parley.Bucket)                { b.Delete("next") }
func (u turning) Rotated(b parley.Bucket, _ []byte) error  { b.Delete("next"); return nil }

func (u turning) Rotate(ctx context.Context, _ []byte) ([]byte, error) {
	u.most.Store(max(u.most.Load(), u.busy.Add(1)))
	defer u.busy.Add(-1)
	if err := wait(ctx, time.Second); err != nil {
		return nil, err
	}
	return nil, ErrNotTaken
}

func (u turning) Lookup(ctx context.Context, q []byte, user string) ([]byte, error) {
	if u.bad.Load() {
		return nil, ErrDirectory
	}
	return u.users.Lookup(ctx, q, user)
}

func (w *world) turning(b *bus, u turning) *person {
	bob := w.user(b, u.users, "bob", 1)
	was := bob.change
	bob.change = func(o *Options) { was(o); o.Systems = map[string]System{"users": u} }
	bob.stop()
	bob.start()
	return bob
}

// TestAccountRefusedRotation is told as such to everybody who asked for it, whatever
// goes on beside it.
func TestAccountRefusedRotation(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		dir := turning{u, new(atomic.Bool), new(atomic.Int32), new(atomic.Int32)}
		bob := w.turning(b, dir)
		for range 5 {
			both := make(chan error, 2)
			for range 2 {
				go func() {
					_, err := bob.m.RotateAccount(context.Background(), "users", "bob", []byte{3})
					both <- err
				}()
			}
			bob.m.poke(workJobs)
			for range 2 {
				if err := <-both; !errors.Is(err, ErrNotTaken) {
					w.t.Errorf("a refused rotation is told as %v", err)
				}
			}
		}
		if n := dir.most.Load(); n != 1 {
			w.t.Errorf("%d rotations at once", n)
		}
	})
}

// TestAccountBadAnswers: a stranger's packet outlasts an outage, answers that are no
// good, and both together.
func TestAccountBadAnswers(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		var bad atomic.Bool
		bob := w.turning(b, turning{u, &bad, new(atomic.Int32), new(atomic.Int32)})
		u.publish("friend", 2)
		u.lie("friend", true)
		u.set(true, 0)
		b.inject("home/bob", letter(t, "friend", "bob", "genuine", 2, time.Now()))
		<-time.After(10 * time.Minute)
		bad.Store(true)
		<-time.After(2 * time.Minute)
		bad.Store(false)
		u.set(false, 0)
		<-time.After(5 * time.Minute)
		u.lie("friend", false)
		w.until("friend", func() bool {
			return bob.contact("friend").Name != "" && slices.Equal(bob.texts("friend"), []string{"genuine"})
		})
	})
}

// TestAccountPresenceForgotten: switched off, the server forgets also what was told to
// one whose keys have changed since.
func TestAccountPresenceForgotten(t *testing.T) {
	withUsers(t, 1, func(w *world, b *bus, u *users) {
		t := w.t
		bob := bobAndAlice(w, b, u)
		if _, err := bob.m.SetPresence(t.Context(), "users", "bob", true); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); bob.m.Listen(ctx, "", func(Message) error { return nil }) }()
		<-time.After(time.Minute)
		cancel()
		<-ended
		if u.word("alice/bob") == nil {
			t.Fatal("not told")
		}
		u.publish("alice", 2)
		<-time.After(25 * time.Hour)
		w.until("change", func() bool { return bob.contact("alice").KeyChanged })
		if _, err := bob.m.SetPresence(t.Context(), "users", "bob", false); err != nil || u.word("alice/bob") != nil {
			t.Errorf("the server still has our word: %v", err)
		}
	})
}
