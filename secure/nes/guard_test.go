package nes

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley"
	"parley/internal/bucketfile"
	"parley/parleytest"
)

// dated is a message that Open has returned.
func dated(from string, at int64) Message {
	return Message{From: from, To: "bob", Time: at, ID: sha256.Sum256([]byte(fmt.Sprint(from, at)))}
}

// take takes in a transaction, and sees that a refusal writes nothing.
func take(t testing.TB, g Guard, b *parleytest.Bucket, m Message) error {
	t.Helper()
	b.Begin()
	err := g.Take(b, m)
	if err != nil && b.Changed() {
		t.Fatalf("refused, and written: %v", err)
	}
	b.Commit()
	return err
}

// entries counts what is remembered by sender, and checks the counts kept.
func entries(t testing.TB, b *parleytest.Bucket) map[string]int {
	t.Helper()
	out, all, senders := map[string]int{}, 0, 0
	for row := range b.Scan("guard/seen/") {
		name, _, _ := strings.Cut(strings.TrimPrefix(row, "guard/seen/"), "/")
		out[name]++
		all++
	}
	for row, value := range b.Scan(sendersPrefix) {
		s, err := parseSender(value)
		must(t, err)
		if int(s.entries) != out[strings.TrimPrefix(row, sendersPrefix)] {
			t.Fatalf("%s: %d entries, counted %d", row, out[strings.TrimPrefix(row, sendersPrefix)], s.entries)
		}
		senders++
	}
	total, err := readTotal(b)
	must(t, err)
	if int(total.entries) != all || int(total.senders) != senders {
		t.Fatalf("%d entries of %d senders, counted %+v", all, senders, total)
	}
	return out
}

func TestGuard(t *testing.T) {
	g, b := Guard{Max: 4}, newBucket()
	for i, step := range []struct {
		at   int64
		want error
	}{
		{10, nil}, {10, parley.ErrSeen}, {-5, nil}, {30, nil}, {20, nil}, {-5, parley.ErrSeen}, {30, parley.ErrSeen},
		{40, nil},            // -5 is forgotten
		{-5, parley.ErrLate}, // and cannot be told from what is as old or older
		{-6, parley.ErrLate},
		{-4, nil}, // 10 is forgotten, so that this cannot be remembered either
		{-4, parley.ErrLate},
		{10, parley.ErrLate},
		{20, parley.ErrSeen}, {30, parley.ErrSeen}, {40, parley.ErrSeen},
		{11, nil}, {11, parley.ErrSeen}, // there is room for four
		{4102444800000, nil}, {11, parley.ErrLate},
		{50, nil}, {20, parley.ErrLate}, {4102444800000, parley.ErrSeen},
	} {
		if err := take(t, g, b, dated("alice", step.at)); !errors.Is(err, step.want) || step.want == nil && err != nil {
			t.Fatalf("step %d, %d: %v, want %v", i, step.at, err, step.want)
		}
		entries(t, b)
	}
}

// Of the same time, all are kept apart; what is forgotten takes its time along.
func TestGuardSameTime(t *testing.T) {
	g, b := Guard{Max: 3}, newBucket()
	m := func(i int) Message { return Message{From: "alice", Time: 7, ID: [32]byte{byte(i)}} }
	for i := range 3 {
		must(t, take(t, g, b, m(i)))
	}
	// The fourth makes room and is not above the floor any more: it is taken once.
	must(t, take(t, g, b, m(3)))
	late, seen := 0, 0
	for i := range 4 {
		switch err := take(t, g, b, m(i)); {
		case errors.Is(err, parley.ErrLate):
			late++
		case errors.Is(err, parley.ErrSeen):
			seen++
		default:
			t.Errorf("%d: %v", i, err)
		}
	}
	if late != 2 || seen != 2 {
		t.Errorf("%d late, %d seen", late, seen)
	}
	if err := take(t, g, b, m(9)); !errors.Is(err, parley.ErrLate) {
		t.Error(err)
	}
}

// Defect 4, and its cure turned against us: a genuine sender that dates a flood to the
// year 2100 keeps nobody's messages out but its own.
func TestDefect4ReplayForwardTimestamp(t *testing.T) {
	const future = 4102444800000
	g, b := Guard{Max: 400}, newBucket()
	now := int64(1700000000000)
	for i := range int64(50) {
		must(t, take(t, g, b, dated("alice", now+i)))
	}
	for i := range int64(3000) {
		must(t, take(t, g, b, dated("mallory", future+i)))
	}
	if have := entries(t, b); have["alice"] != 50 || have["mallory"] > 350 {
		t.Fatal(have)
	}
	for i := range int64(50) { // nothing of hers is replayed, and new ones come
		if err := take(t, g, b, dated("alice", now+i)); !errors.Is(err, parley.ErrSeen) {
			t.Fatal(err)
		}
		must(t, take(t, g, b, dated("alice", now+50+i)))
		must(t, take(t, g, b, dated("carol", now+i)))
	}
	if err := take(t, g, b, dated("mallory", now)); !errors.Is(err, parley.ErrLate) {
		t.Error(err)
	}
	// Fifty such senders leave each of the others an even share, the newest.
	for s := range 50 {
		for i := range int64(20) {
			must(t, take(t, g, b, dated(fmt.Sprintf("mallory%d", s), future+i)))
		}
	}
	have := entries(t, b)
	if have["alice"] < 400/53-1 || have["carol"] < 400/53-1 {
		t.Error(have)
	}
	must(t, take(t, g, b, dated("alice", now+1000)))
	for i := range int64(100) {
		if err := take(t, g, b, dated("alice", now+i)); !errors.Is(err, parley.ErrSeen) && !errors.Is(err, parley.ErrLate) {
			t.Fatal(err)
		}
	}
}

// One message of a sender whose clock was wrong for a moment keeps no other out.
func TestGuardWrongClock(t *testing.T) {
	g, b := Guard{Max: 10}, newBucket()
	must(t, take(t, g, b, dated("alice", 4102444800000)))
	for i := range int64(1000) {
		must(t, take(t, g, b, dated("alice", 1700000000000+i)))
	}
	if err := take(t, g, b, dated("alice", 4102444800000)); !errors.Is(err, parley.ErrSeen) {
		t.Error(err)
	}
}

func TestGuardSenders(t *testing.T) {
	g, b := Guard{Max: 10, MaxSenders: 3}, newBucket()
	for _, name := range []string{"alice", "bob", "carol"} {
		must(t, take(t, g, b, dated(name, 1)))
	}
	if err := take(t, g, b, dated("dave", 1)); !errors.Is(err, ErrSenders) || !errors.Is(err, parley.ErrDenied) {
		t.Error(err)
	}
	must(t, take(t, g, b, dated("alice", 2)))
	for range 2 {
		must(t, g.Forget(b, "alice"))
		if have := entries(t, b); len(have) != 2 {
			t.Error(have)
		}
	}
	must(t, take(t, g, b, dated("dave", 1)))
	for _, name := range []string{"", "Alice", "al/"} {
		if err := take(t, g, b, dated(name, 1)); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if err := g.Forget(b, name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestGuardDamaged(t *testing.T) {
	for name, damage := range map[string]func(*parleytest.Bucket){
		"total":          func(b *parleytest.Bucket) { b.Put(totalRow, []byte("x")) },
		"sender":         func(b *parleytest.Bucket) { b.Put(senderRow("alice"), []byte("x")) },
		"another sender": func(b *parleytest.Bucket) { b.Put(senderRow("carol"), []byte("x")) },
		"entries":        func(b *parleytest.Bucket) { b.Delete(seenRow("alice", 1, dated("alice", 1).ID)) },
		"an entry": func(b *parleytest.Bucket) {
			b.Delete(seenRow("alice", 1, dated("alice", 1).ID))
			b.Put(seenPrefix("alice")+"!", []byte{1})
		},
		"no hex": func(b *parleytest.Bucket) {
			b.Delete(seenRow("alice", 1, dated("alice", 1).ID))
			b.Put(seenPrefix("alice")+"!                             ", []byte{1})
		},
	} {
		b := newBucket()
		must(t, take(t, Guard{Max: 1}, b, dated("alice", 1)))
		damage(b)
		if err := take(t, Guard{Max: 1}, b, dated("alice", 2)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// runGuard takes messages at random, and holds the Guard to its promises: nothing is taken
// twice, what is remembered stays within bounds and is the newest, and only what is not
// above the floor is refused.
func runGuard(t testing.TB, g Guard, steps func(yield func(sender byte, at int64) bool)) {
	b, taken := newBucket(), map[string]map[int64]bool{}
	for sender, at := range steps {
		name := fmt.Sprintf("user%d", sender%5)
		if taken[name] == nil {
			taken[name] = map[int64]bool{}
		}
		err := take(t, g, b, dated(name, at))
		switch {
		case err == nil && taken[name][at]:
			t.Fatalf("%s at %d: taken twice", name, at)
		case errors.Is(err, parley.ErrSeen) && !taken[name][at]:
			t.Fatalf("%s at %d: not seen before", name, at)
		case errors.Is(err, parley.ErrLate):
			s, _, _ := readSender(b, name)
			if at > s.floor {
				t.Fatalf("%s at %d: above the floor %d", name, at, s.floor)
			}
			if times := slices.Sorted(maps.Keys(taken[name])); times[len(times)-1] < s.floor {
				t.Fatalf("%s: a floor %d above all", name, s.floor)
			}
		case err != nil && !errors.Is(err, parley.ErrSeen):
			t.Fatal(err)
		}
		if err == nil {
			taken[name][at] = true
		}
	}
	have, all := entries(t, b), 0
	for name, n := range have {
		all += n
		kept := slices.SortedFunc(maps.Keys(taken[name]), func(a, b int64) int { return cmp.Compare(b, a) })
		for _, at := range kept[:n] { // the newest are the ones that are kept
			if err := take(t, g, b, dated(name, at)); !errors.Is(err, parley.ErrSeen) {
				t.Fatalf("%s: %d is forgotten, and older are not: %v", name, at, err)
			}
		}
	}
	if all > g.Max {
		t.Fatalf("%d entries, at most %d", all, g.Max)
	}
}

func TestGuardModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		runGuard(t, Guard{Max: 1 + r.IntN(30)}, func(yield func(byte, int64) bool) {
			for i := range 200 {
				if !yield(byte(r.IntN(1+int(seed%5))), int64(i/3)+r.Int64N(20)) {
					return
				}
			}
		})
	}
}

func FuzzGuard(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 1, 2, 255, 255, 0, 0, 0, 1})
	f.Add(slices.Repeat([]byte{0, 9, 1, 8, 2, 7, 1, 200}, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 2000 {
			return
		}
		runGuard(t, Guard{Max: 1 + int(b[0]%20)}, func(yield func(byte, int64) bool) {
			for i := 1; i+1 < len(b); i += 2 {
				if !yield(b[i], int64(int8(b[i+1]))) {
					return
				}
			}
		})
	})
}

// A full Guard of the usual size in a state file, each call with its own commit. One in
// a thousand forgets.
func BenchmarkGuard(b *testing.B) {
	f, err := bucketfile.Create(filepath.Join(b.TempDir(), "state"))
	must(b, err)
	defer f.Close()
	at := int64(0)
	must(b, f.Update(func(bucket parley.Bucket) error {
		for range GuardSize {
			at++
			if err := (Guard{}).Take(bucket, dated(fmt.Sprintf("user%d", at%100), at)); err != nil {
				return err
			}
		}
		return nil
	}))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		at++
		must(b, f.Update(func(bucket parley.Bucket) error {
			return Guard{}.Take(bucket, dated(fmt.Sprintf("user%d", at%100), at))
		}))
	}
}
