package pebblestore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/broker/store"
	"parley/broker/store/pebblestore"
)

// A ledger is what the callers of one queue know, by the number in each body.
type ledger struct {
	mu                            sync.Mutex
	sent, answered, asked, erased map[uint64]bool // Append began, returned; Ack began, returned
}

func newLedger() *ledger {
	return &ledger{
		sent: make(map[uint64]bool), answered: make(map[uint64]bool),
		asked: make(map[uint64]bool), erased: make(map[uint64]bool),
	}
}

func (l *ledger) note(m map[uint64]bool, n uint64) {
	l.mu.Lock()
	m[n] = true
	l.mu.Unlock()
}

func (l *ledger) copy(m map[uint64]bool) map[uint64]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(map[uint64]bool, len(m))
	for k := range m {
		c[k] = true
	}
	return c
}

// Power fails at random moments under load, and a random part of what was not
// synced is kept. Nothing that was answered is lost, nothing that was
// acknowledged comes back, and the order holds.
func TestCrash(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 25
	}
	const queues = 6
	disk := vfs.NewCrashableMem()
	o := pebblestore.Options{FS: disk, MemTable: 32 << 10, ScrubEvery: 20 * time.Millisecond}
	s, err := pebblestore.Open("db", o)
	if err != nil {
		t.Fatal(err)
	}
	leases := makeQueues(t, s, queues)
	books := make([]*ledger, queues)
	ctx, stop := context.WithCancel(context.Background())
	var load sync.WaitGroup
	for i, l := range leases {
		b := newLedger()
		books[i] = b
		some, room := make(chan struct{}, 1), make(chan struct{}, 1)
		load.Go(func() { // a sender
			for n := uint64(1); ctx.Err() == nil; n++ {
				b.note(b.sent, n)
				body := binary.BigEndian.AppendUint64(nil, n)
				body = append(body, make([]byte, n%700)...)
				for {
					_, err := s.Append(ctx, l.Queue, 1, 20, time.Now(), body)
					if err == nil {
						b.note(b.answered, n)
						signal(some)
					}
					if !errors.Is(err, store.ErrFull) || !await(ctx, room) {
						break
					}
				}
			}
		})
		load.Go(func() { // the recipient
			for ctx.Err() == nil {
				it, err := s.Head(ctx, l)
				if err != nil {
					await(ctx, some)
					continue
				}
				n := binary.BigEndian.Uint64(it.Body)
				b.note(b.asked, n)
				if s.Ack(ctx, l, it.Seq) == nil {
					b.note(b.erased, n)
					signal(room)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	seen := 0
	for round := range rounds {
		until(t, "the load goes on", func() bool {
			books[0].mu.Lock()
			defer books[0].mu.Unlock()
			return len(books[0].answered) > 20*round
		})
		var answered, erased []map[uint64]bool
		for _, b := range books { // erased first: it is the smaller claim
			erased = append(erased, b.copy(b.erased))
			answered = append(answered, b.copy(b.answered))
		}
		image := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 100}[round%3], RNG: rng})
		var sent, asked []map[uint64]bool
		for _, b := range books {
			sent = append(sent, b.copy(b.sent))
			asked = append(asked, b.copy(b.asked))
		}
		after, err := pebblestore.Open("db", pebblestore.Options{FS: image, ScrubEvery: -1})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for i, l := range leases {
			there, err := drain(after, l.Queue)
			if err != nil {
				t.Fatal(err)
			}
			seen += len(there)
			if !slices.IsSorted(there) || len(slices.Compact(slices.Clone(there))) != len(there) {
				t.Errorf("round %d: out of order or double: %v", round, there)
			}
			for n := range answered[i] {
				if !asked[i][n] && !slices.Contains(there, n) {
					t.Errorf("round %d: message %d was answered and is lost", round, n)
				}
			}
			for _, n := range there {
				if erased[i][n] {
					t.Errorf("round %d: message %d was acknowledged and is back", round, n)
				}
				if !sent[i][n] {
					t.Errorf("round %d: message %d was never sent", round, n)
				}
			}
		}
		if err := after.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
	}
	stop()
	load.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if seen == 0 {
		t.Error("no image held a message: this test sees nothing")
	}
	t.Logf("%d power failures, %d messages found after them", rounds, seen)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await is false if ctx ended first.
func await(ctx context.Context, c chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// drain takes all messages of a queue and returns the numbers in their bodies.
func drain(s store.Store, q store.ID) (numbers []uint64, err error) {
	ctx := context.Background()
	l, err := s.Own(ctx, []store.ID{q})
	if err != nil || l[0].Epoch == 0 {
		return nil, fmt.Errorf("queue %x: %v", q, err)
	}
	for {
		it, err := s.Head(ctx, l[0])
		if errors.Is(err, store.ErrEmpty) {
			return numbers, nil
		}
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, binary.BigEndian.Uint64(it.Body))
		if err := s.Ack(ctx, l[0], it.Seq); err != nil {
			return nil, err
		}
	}
}
