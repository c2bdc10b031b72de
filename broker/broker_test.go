package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/broker"
	"parley/broker/store"
	"parley/parleytest"
)

var ctx = context.Background()

// bench is a broker over a memory store inside a synctest bubble.
type bench struct {
	*testing.T
	*broker.Broker
	st *parleytest.MemStore
}

func inBubble(t *testing.T, o broker.Options, f func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		st := parleytest.NewStore()
		b := &bench{t, broker.New(st, o), st}
		defer func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}()
		f(b)
	})
}

// client is a Conn and whatever it was told.
type client struct {
	*broker.Conn
	b *bench

	mu    sync.Mutex
	wakes int
	log   []string
}

func (c *client) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, what)
}

func (c *client) told() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// woken returns how often it was notified since the last time.
func (c *client) woken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.wakes
	c.wakes = 0
	return n
}

func (b *bench) connect() *client {
	c := &client{b: b}
	c.Conn = b.Connect(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wakes++
	})
	b.Cleanup(c.Close)
	return c
}

func (c *client) create() broker.Queue {
	c.b.Helper()
	var q broker.Queue
	if err := c.Create(ctx, []byte("RK"), 16, 1000, func(made broker.Queue) { q = made }); err != nil {
		c.b.Fatal(err)
	}
	return q
}

func (c *client) did(what string) func() { return func() { c.note(what) } }

// next returns the next event as text: "body", "END" or "".
func (c *client) next() string {
	synctest.Wait()
	e, ok := c.Next(ctx)
	switch {
	case !ok:
		return ""
	case e.End:
		return "END"
	}
	return string(e.Item.Body)
}

func (b *bench) send(q broker.Queue, body string) {
	b.Helper()
	q, err := b.Lookup(ctx, store.Sender, q.Sender)
	if err != nil {
		b.Fatal(err)
	}
	if err := b.Send(ctx, q, []byte(body)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) want(got, want any) {
	b.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.Fatalf("got %q, want %q", fmt.Sprint(got), fmt.Sprint(want))
	}
}

func (b *bench) wantErr(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("got error %v, want %v", err, want)
	}
}

func TestCreateMakesTwoRandomIDs(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		seen := map[store.ID]bool{}
		for range 100 {
			q, err := b.Broker.Create(ctx, []byte("RK"), 16, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range []store.ID{q.ID, q.Sender} {
				if seen[id] {
					t.Fatal("the same ID twice")
				}
				seen[id] = true
				if !bytes.Equal(id[16:], make([]byte, 8)) || bytes.Equal(id[:16], make([]byte, 16)) {
					t.Fatalf("ID %x is not 16 random bytes and zeros", id)
				}
			}
			for r, id := range map[store.Role]store.ID{store.Recipient: q.ID, store.Sender: q.Sender} {
				got, err := b.Lookup(ctx, r, id)
				if err != nil || got.ID != q.ID || got.Sender != q.Sender || string(got.RecipientKey) != "RK" || got.SenderKey != nil {
					t.Fatalf("Lookup(%v): %+v, %v", r, got, err)
				}
			}
			_, err = b.Lookup(ctx, store.Sender, q.ID)
			b.wantErr(err, store.ErrNotFound)
			_, err = b.Lookup(ctx, store.Recipient, q.Sender)
			b.wantErr(err, store.ErrNotFound)
		}
		for _, size := range []int{-1, 0, 15, 25} {
			if _, err := b.Broker.Create(ctx, []byte("RK"), size, 1000); err == nil {
				t.Errorf("IDs of %d bytes were made", size)
			}
		}
		for _, max := range []int{-1, 0, store.MaxBody + 1} {
			if _, err := b.Broker.Create(ctx, []byte("RK"), 16, max); err == nil {
				t.Errorf("messages of %d bytes were allowed", max)
			}
		}
		for _, key := range [][]byte{nil, make([]byte, broker.MaxKey+1)} {
			_, err := b.Broker.Create(ctx, key, 16, 1000)
			b.wantErr(err, broker.ErrKey)
		}
	})
}

func TestOneUnacknowledgedAtATimeInOrder(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		c := b.connect()
		q := c.create()
		b.wantErr(c.Ack(ctx, q.ID, c.did("never")), broker.ErrNothing)
		for i := range 3 {
			b.send(q, fmt.Sprint("m", i))
		}
		for i := range 3 {
			b.want(c.next(), fmt.Sprint("m", i))
			b.want(c.next(), "")
			if err := c.Ack(ctx, q.ID, c.did("ack")); err != nil {
				t.Fatal(err)
			}
		}
		b.want(c.next(), "")
		b.wantErr(c.Ack(ctx, q.ID, c.did("never")), broker.ErrNothing)
		b.want(c.told(), "[ack ack ack]")
		if n, _ := b.st.Len(ctx, q.ID); n != 0 {
			t.Errorf("%d messages are kept after their ACK", n)
		}
		c.woken()
		b.send(q, "late")
		synctest.Wait()
		if n := c.woken(); n != 1 {
			t.Errorf("%d wake-ups for a message, want 1", n)
		}
		b.want(c.next(), "late")
	})
}

func TestSecondSubscriberTakesOver(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		first, second := b.connect(), b.connect()
		q, other := first.create(), first.create()
		b.send(q, "m0")
		b.want(first.next(), "m0")
		b.send(other, "o0")
		if err := second.Subscribe(ctx, q.ID, second.did("sub")); err != nil {
			t.Fatal(err)
		}
		b.want(first.next(), "END")
		b.want(first.next(), "o0")
		b.want(first.next(), "")
		b.want(second.next(), "m0") // not acknowledged by the first: again
		b.wantErr(first.Ack(ctx, q.ID, nil), broker.ErrNothing)
		b.want(second.Ack(ctx, q.ID, second.did("ack")), nil)
		b.send(q, "m1")
		b.want(second.next(), "m1")
		b.want(first.next(), "")

		// A message that waits in the ready list of the first is not delivered there.
		b.want(second.Ack(ctx, q.ID, second.did("ack")), nil)
		b.send(q, "m2")
		synctest.Wait()
		b.want(first.Subscribe(ctx, q.ID, first.did("sub")), nil)
		b.want(second.next(), "END")
		b.want(second.next(), "")
		b.want(first.next(), "m2")
		// Subscribing again on the same connection delivers it again and ends nothing.
		b.want(first.Subscribe(ctx, q.ID, first.did("sub")), nil)
		b.want(first.next(), "m2")
		b.want(first.next(), "")
	})
}

func TestCloseGivesTheUnacknowledgedMessageToTheNext(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		first := b.connect()
		q := first.create()
		b.send(q, "m0")
		b.want(first.next(), "m0")
		first.Close()
		first.Close()
		b.want(first.next(), "")
		b.wantErr(first.Subscribe(ctx, q.ID, first.did("never")), store.ErrClosed)
		b.wantErr(first.Ack(ctx, q.ID, first.did("never")), broker.ErrNothing)
		second := b.connect()
		b.want(second.Subscribe(ctx, q.ID, second.did("sub")), nil)
		b.want(second.next(), "m0")
		b.want(first.told(), "[]")
		b.wantErr(second.Subscribe(ctx, store.ID{1}, nil), store.ErrNotFound)
	})
}

func TestSecureAndSend(t *testing.T) {
	inBubble(t, broker.Options{Quota: 3}, func(b *bench) {
		c := b.connect()
		q := c.create()
		unsecured, _ := b.Lookup(ctx, store.Sender, q.Sender)
		b.want(b.Send(ctx, unsecured, []byte("m0")), nil)
		b.want(b.Secure(ctx, q.ID, []byte("SK")), nil)
		// What was looked up before the KEY can no longer be sent with.
		b.wantErr(b.Send(ctx, unsecured, []byte("x")), store.ErrChanged)
		b.wantErr(b.Send(ctx, unsecured, make([]byte, 1001)), broker.ErrSize)
		b.want(b.Secure(ctx, q.ID, []byte("SK")), nil)
		b.wantErr(b.Secure(ctx, q.ID, []byte("other")), broker.ErrSecured)
		b.wantErr(b.Secure(ctx, q.ID, nil), broker.ErrKey)
		b.wantErr(b.Secure(ctx, q.Sender, []byte("SK")), store.ErrNotFound)
		secured, _ := b.Lookup(ctx, store.Sender, q.Sender)
		b.want(string(secured.SenderKey), "SK")
		b.send(q, "m1")
		b.send(q, "m2")
		b.wantErr(b.Send(ctx, secured, []byte("x")), store.ErrFull)
		b.want(c.next(), "m0")
		b.want(c.Ack(ctx, q.ID, c.did("ack")), nil)
		b.send(q, "m3")
	})
}

func TestDeleteDeletesAtOnce(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		c, other := b.connect(), b.connect()
		q := c.create()
		b.send(q, "m0")
		b.send(q, "m1")
		b.want(c.next(), "m0")
		b.want(c.Hold(ctx, q.ID, func(err error) { c.note(err.Error()) }), nil)
		stale, _ := b.Lookup(ctx, store.Recipient, q.ID)
		b.want(other.Delete(ctx, q.ID, other.did("del")), nil)
		b.want(other.told(), "[del]")
		b.want(c.told(), "[no such queue]")
		b.want(c.next(), "END")
		b.want(c.next(), "")
		b.wantErr(b.Send(ctx, broker.Queue{ID: q.ID, MaxBody: 1}, []byte("x")), store.ErrNotFound)
		b.wantErr(b.Send(ctx, stale, []byte("x")), broker.ErrSuspended)
		b.wantErr(other.Delete(ctx, q.ID, nil), store.ErrNotFound)
		for r, id := range map[store.Role]store.ID{store.Recipient: q.ID, store.Sender: q.Sender} {
			_, err := b.Lookup(ctx, r, id)
			b.wantErr(err, store.ErrNotFound)
		}
		// One's own subscription ends without END.
		mine := c.create()
		b.send(mine, "m")
		synctest.Wait()
		b.want(c.Delete(ctx, mine.ID, c.did("del")), nil)
		b.want(c.next(), "")
	})
}

func TestEvict(t *testing.T) {
	inBubble(t, broker.Options{}, func(b *bench) {
		c, other := b.connect(), b.connect()
		b.want(c.Idle(), true)
		q := c.create()
		b.want(c.Idle(), false)
		b.send(q, "m0")
		b.want(c.next(), "m0")
		other.Evict(q.ID) // not its subscription
		b.want(c.next(), "")
		c.Evict(q.ID)
		b.want(c.next(), "END")
		b.want(c.next(), "")
		b.want(c.Idle(), true)
		b.wantErr(c.Ack(ctx, q.ID, nil), broker.ErrNothing)
		b.want(other.Subscribe(ctx, q.ID, func() {}), nil)
		b.want(other.next(), "m0")
	})
}

func TestSubscriptionsAreBounded(t *testing.T) {
	inBubble(t, broker.Options{Subscriptions: 2}, func(b *bench) {
		c := b.connect()
		q := c.create()
		c.create()
		b.wantErr(c.Create(ctx, []byte("RK"), 16, 1000, nil), broker.ErrTooMany)
		b.want(c.Subscribe(ctx, q.ID, c.did("again")), nil)
		more, _ := b.Broker.Create(ctx, []byte("RK"), 16, 1000)
		b.wantErr(c.Subscribe(ctx, more.ID, nil), broker.ErrTooMany)
		c.Close()
		d := b.connect()
		b.want(d.Subscribe(ctx, more.ID, d.did("sub")), nil)
	})
}

// Many senders, subscribers that take each other's queues over, and acks, all at
// once: each message arrives, in order, and none after its acknowledgement.
func TestConcurrentUse(t *testing.T) {
	const queues, messages = 8, 200
	b := broker.New(parleytest.NewStore(), broker.Options{Quota: messages})
	defer b.Close()
	var senders, receivers sync.WaitGroup
	for range queues {
		q, err := b.Create(ctx, []byte("RK"), 16, 1000)
		if err != nil {
			t.Fatal(err)
		}
		senders.Go(func() {
			for i := range messages {
				if err := b.Send(ctx, q, []byte{byte(i)}); err != nil {
					t.Error(err)
				}
			}
		})
		receivers.Go(func() {
			wake := make(chan struct{}, 1)
			connect := func() *broker.Conn {
				return b.Connect(func() {
					select {
					case wake <- struct{}{}:
					default:
					}
				})
			}
			c := connect()
			for got := 0; got < messages; {
				if got%50 == 0 { // another connection takes over
					old := c
					c = connect()
					if err := c.Subscribe(ctx, q.ID, func() {}); err != nil {
						t.Error(err)
						return
					}
					old.Close()
				}
				e, ok := c.Next(ctx)
				if !ok {
					<-wake
					continue
				}
				if e.End || e.Queue != q.ID || e.Item.Body[0] != byte(got) {
					t.Errorf("event %+v, want message %d", e, got)
					return
				}
				if err := c.Ack(ctx, q.ID, func() {}); err != nil {
					t.Error(err)
					return
				}
				got++
			}
			c.Close()
		})
	}
	senders.Wait()
	receivers.Wait()
}

func TestClosedBroker(t *testing.T) {
	b := broker.New(parleytest.NewStore(), broker.Options{})
	c := b.Connect(func() {})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"Create":    c.Create(ctx, []byte("RK"), 16, 1000, nil),
		"Subscribe": c.Subscribe(ctx, store.ID{1}, nil),
		"Hold":      c.Hold(ctx, store.ID{1}, nil),
		"Delete":    c.Delete(ctx, store.ID{1}, nil),
		"Secure":    b.Secure(ctx, store.ID{1}, []byte("SK")),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
}

func TestMessagesCarryTheirTime(t *testing.T) {
	at := time.Date(2026, 10, 15, 12, 0, 0, 123_456_789, time.FixedZone("", 7200))
	inBubble(t, broker.Options{Now: func() time.Time { return at }}, func(b *bench) {
		c := b.connect()
		q := c.create()
		b.send(q, "m")
		synctest.Wait()
		e, ok := c.Next(ctx)
		if want := time.Date(2026, 10, 15, 10, 0, 0, 123_000_000, time.UTC); !ok || !e.Item.At.Equal(want) || e.Item.At.Location() != time.UTC {
			t.Errorf("time %v, want %v", e.Item.At, want)
		}
	})
}
