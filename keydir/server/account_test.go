package server

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// One account from its registration to its end, and the name's next account.
func TestLife(t *testing.T) {
	w := newWorld(t, Options{})
	alice, bob := pairOf("alice"), pairOf("bob")
	activate, remove := w.register("carla", alice)
	const none = "404 page not found\n"
	w.want("GET", "/users/carla", "", 404, none)
	w.want("POST", "/users/carla/wrong", "", 404, none)
	w.want("POST", remove, "", 404, none) // only once it is active
	w.want("POST", strings.Replace(activate, "carla", "other", 1), "", 404, none)
	w.want("POST", activate, "", 200, "user activated\n")
	w.want("POST", activate, "", 404, none) // spent
	w.want("GET", activate, "", 404, none)

	a, k := w.answer("carla")
	if !k.Equal(alice.keys()) || a.Version != 1 || a.Proven || a.LogSeq != 1 || a.Rotation != nil ||
		a.Expires-a.Issued != answerTime.Milliseconds() {
		t.Errorf("%+v", a)
	}

	// The keys are replaced, signed by the old one.
	w.want("POST", "/users/carla/keys", w.rotation("carla", 3, bob, alice.sign), 409, errVersion.Error()+"\n")
	w.want("POST", "/users/nobody/keys", w.rotation("nobody", 2, bob, alice.sign), 404, none)
	if rec := w.ask("POST", "/users/carla/keys", w.rotation("carla", 2, bob, bob.sign)); rec.Code != 400 || !strings.Contains(rec.Body.String(), "signature_old") {
		t.Errorf("a rotation that the new key signs: %d %s", rec.Code, rec.Body)
	}
	if rec := w.ask("POST", "/users/carla/keys", w.rotation("carla", 2, alice, alice.sign)); rec.Code != 400 {
		t.Errorf("a rotation to the same keys: %d %s", rec.Code, rec.Body)
	}
	body := w.rotation("carla", 2, bob, alice.sign)
	rec := w.ask("POST", "/users/carla/keys", body)
	if _, _, err := keydir.ParseAnswer(rec.Body.Bytes(), w.d.PublicKey(), "carla", w.clock.now()); rec.Code != 200 || err != nil {
		t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
	}
	w.want("POST", "/users/carla/keys", body, 409, errVersion.Error()+"\n")
	a, k = w.answer("carla")
	if !k.Equal(bob.keys()) || a.Version != 2 || !a.Proven || !a.VouchedBy(&alice.sign.PublicKey, k) {
		t.Errorf("%+v", a)
	}

	w.want("POST", remove, "", 200, "user deleted\n")
	w.want("POST", remove, "", 404, none)
	w.want("GET", "/users/carla", "", 404, none)

	// The name goes on with the next version: who knew it sees a change.
	w.enrol("carla", alice)
	if a, _ = w.answer("carla"); a.Version != 3 || a.Rotation != nil {
		t.Errorf("%+v", a)
	}
	all, head := w.logged()
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprint(e.Action, e.Version, e.Name == keydir.NameHash("carla"), e.SignKey != ""))
	}
	if s := strings.Join(got, " "); s != "published1 true true rotated2 true true removed2 true false published3 true true" {
		t.Errorf("the log: %s", s)
	}
	if a.LogSeq != 4 || a.LogHash != head.Hash || all[3].SignKey != rsakey.Of(&alice.sign.PublicKey).Hex() {
		t.Errorf("%+v, %+v", a, head)
	}
	h, err := keydir.ParseHead(w.ask("GET", "/log/head", "").Body.Bytes(), w.d.PublicKey(), w.clock.now())
	if err != nil || h.Size != 4 || h.Hash != head.Hash {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestActivationExpires(t *testing.T) {
	w := newWorld(t, Options{})
	alice := pairOf("alice")
	activate, _ := w.register("late", alice)
	w.clock.add(activationTime)
	w.want("GET", activate, "", 200, w.ask("GET", activate, "").Body.String()) // at the last moment
	w.clock.add(time.Millisecond)
	w.want("GET", activate, "", 410, "activate token expired\n")
	w.want("POST", activate, "", 410, "activate token expired\n")
	// Its end alone does not free the name; the sweep does.
	w.want("POST", "/users", registration("late", "late@mail.example", alice.keys(), nil), 400, "user already exist\n")
	remove := w.enrol("stays", alice)
	if err := w.d.sweep(); err != nil {
		t.Fatal(err)
	}
	w.want("POST", activate, "", 404, "404 page not found\n")
	w.enrol("late", alice)
	w.clock.add(deletionTime + time.Hour)
	w.want("POST", remove, "", 404, "404 page not found\n") // has expired
	if err := w.d.sweep(); err != nil {
		t.Fatal(err)
	}
	w.answer("stays") // an active account is never swept
}

// A signed answer is kept and sent again, and made anew when half of its time is
// over; a change of the account is seen at once.
func TestAnswersAreKept(t *testing.T) {
	w := newWorld(t, Options{})
	w.enrol("alice", pairOf("alice"))
	first := w.ask("GET", "/users/alice", "").Body.String()
	w.clock.add(renewTime - time.Millisecond)
	if again := w.ask("GET", "/users/alice", "").Body.String(); again != first {
		t.Error("signed twice")
	}
	w.clock.add(time.Millisecond)
	if again := w.ask("GET", "/users/alice", "").Body.String(); again == first {
		t.Error("near its end, the old answer is sent")
	}
	w.answer("alice")
}

// What is kept is judged by the wall clock: after a night asleep, and after the clock
// was set back, an answer is signed anew, so that clients can take it.
func TestAnswersFollowTheWallClock(t *testing.T) {
	w := newWorld(t, Options{})
	w.enrol("alice", pairOf("alice"))
	w.answer("alice")
	for _, step := range []time.Duration{-2 * keydir.Skew, -30 * 24 * time.Hour, 60 * 24 * time.Hour} {
		w.clock.add(step)
		w.answer("alice") // fails if the client refuses it
	}
	d, err := New(Options{Dir: w.o.Dir + "2", KeyFile: filepath.Join(w.o.Dir, keyName)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Shutdown(context.Background())
	if now := d.o.Now().String(); strings.Contains(now, "m=") {
		t.Errorf("%s has a monotonic reading", now)
	}
	// Between two readings the monotonic clock may have stood still.
	a, now := newAnswers(1), time.Now()
	a.get("x", now, func() ([]byte, error) { return []byte("old"), nil })
	awake := time.UnixMilli(now.Add(renewTime).UnixMilli())
	if b, _ := a.get("x", awake, func() ([]byte, error) { return []byte("new"), nil }); string(b) != "new" {
		t.Errorf("%s", b)
	}
}

// What changes while an answer is made is not hidden by that answer.
func TestAnswerMadeDuringAChangeIsNotKept(t *testing.T) {
	a := newAnswers(10)
	now := time.Unix(1000, 0)
	body, err := a.get("x", now, func() ([]byte, error) { a.drop("x"); return []byte("old"), nil })
	if string(body) != "old" || err != nil {
		t.Fatal(body, err)
	}
	if body, _ := a.get("x", now, func() ([]byte, error) { return []byte("new"), nil }); string(body) != "new" {
		t.Errorf("%s", body)
	}
	if body, _ := a.get("x", now, func() ([]byte, error) { return nil, errNotFound }); string(body) != "new" {
		t.Errorf("%s is not kept", body)
	}
	for i := range 100 {
		a.get(fmt.Sprint(i), now, func() ([]byte, error) { return nil, nil })
	}
	if n := a.ready.Len(); n != 10 || len(a.pending) != 0 {
		t.Errorf("%d answers kept, %d pending", n, len(a.pending))
	}
}

func TestProof(t *testing.T) {
	w := newWorld(t, Options{})
	alice, bob := pairOf("alice"), pairOf("bob")
	prove := func(name string, k keydir.Keys, by pair) *keydir.Proof {
		p, err := keydir.Prove(w.d.PublicKey(), name, "a@b", k, by.message, by.sign, w.clock.now())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for what, p := range map[string]*keydir.Proof{
		"by others' keys": prove("proven", alice.keys(), bob),
		"of another name": prove("proved", alice.keys(), alice),
		"with one key for both": {Time: w.clock.now().UnixMilli(), Sign: prove("proven", alice.keys(), alice).Sign,
			Message: prove("proven", alice.keys(), alice).Sign},
		"empty": {},
	} {
		if rec := w.ask("POST", "/users", registration("proven", "a@b", alice.keys(), p)); rec.Code != 400 || !strings.Contains(rec.Body.String(), "proof") {
			t.Errorf("a proof %s: %d %s", what, rec.Code, rec.Body)
		}
	}
	old := prove("proven", alice.keys(), alice)
	w.clock.add(keydir.ProofAge + time.Second)
	if rec := w.ask("POST", "/users", registration("proven", "a@b", alice.keys(), old)); rec.Code != 400 {
		t.Errorf("an old proof: %d", rec.Code)
	}
	if rec := w.ask("POST", "/users", registration("proven", "a@b", alice.keys(), prove("proven", alice.keys(), alice))); rec.Code != 201 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	// Who saw the body cannot have the mail sent to their own address.
	if rec := w.ask("POST", "/users", registration("proved", "mallory@b", alice.keys(), prove("proved", alice.keys(), alice))); rec.Code != 400 {
		t.Errorf("another mailbox: %d", rec.Code)
	}
	w.want("POST", linksIn(w.lastMail())[0], "", 200, "user activated\n")
	if a, _ := w.answer("proven"); !a.Proven {
		t.Error("the answer does not say that the keys are proven")
	}
}

// Of 50 who want a name at once, one gets it.
func TestOneNameOneAccount(t *testing.T) {
	w := newWorld(t, Options{})
	keys := pairOf("alice").keys()
	var made, taken, other atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			switch rec := w.ask("POST", "/users", registration("wanted", fmt.Sprintf("u%d@mail.example", i), keys, nil)); {
			case rec.Code == 201:
				made.Add(1)
			case rec.Code == 400 && rec.Body.String() == "user already exist\n":
				taken.Add(1)
			default:
				other.Add(1)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 || taken.Load() != 49 {
		t.Errorf("%d made, %d told that it is taken, %d else", made.Load(), taken.Load(), other.Load())
	}
	// And one of many who follow the link at once activates it, once.
	activate := linksIn(w.lastMail())[0]
	made.Store(0)
	for range 20 {
		all.Go(func() {
			if w.ask("POST", activate, "").Code == 200 {
				made.Add(1)
			}
		})
	}
	all.Wait()
	if log, _ := w.logged(); made.Load() != 1 || len(log) != 1 {
		t.Errorf("activated %d times, %d entries", made.Load(), len(log))
	}
}
