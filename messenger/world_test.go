package messenger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley"
	"parley/messenger/profile"
	"parley/parleytest"
	"parley/secure/ratchet"
)

// A world is a network and the people in it.
type world struct {
	t    *testing.T
	net  *parleytest.Faulty
	dir  string
	mu   sync.Mutex
	open []*person
}

// A person has a profile, and a messenger while it is running.
type person struct {
	w      *world
	name   string
	dir    string
	p      *profile.Profile
	m      *Messenger
	fault  func(step string) error
	change func(*Options)
}

var errCrash = errors.New("crashed by the test")

// inBubble runs a test in fake time.
func inBubble(t *testing.T, seed uint64, do func(w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: parleytest.NewFaulty(seed, 0), dir: dir}
		defer w.close()
		do(w)
	})
}

func (w *world) close() {
	w.mu.Lock()
	open := w.open
	w.open = nil
	w.mu.Unlock()
	for _, p := range open {
		p.stop()
	}
}

func (w *world) registry() *parley.Registry {
	var r parley.Registry
	r.Carrier(parleytest.FaultyScheme, w.net)
	r.Transport(parley.Ratchet, ratchet.New())
	return &r
}

// person makes a profile whose mailboxes are made at the relays named, and
// starts its messenger.
func (w *world) person(name string, relays ...string) *person {
	w.t.Helper()
	p := &person{w: w, name: name, dir: filepath.Join(w.dir, name)}
	var list []parley.Address
	for _, r := range relays {
		list = append(list, parley.Address(parleytest.FaultyScheme+"://"+r))
	}
	prof, err := profile.Create(p.dir, profileOptions())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := SaveSettings(w.t.Context(), prof, Settings{Name: name, Relays: list, Receipts: "read"}); err != nil {
		w.t.Fatal(err)
	}
	p.p = prof
	w.mu.Lock()
	w.open = append(w.open, p)
	w.mu.Unlock()
	p.start()
	return p
}

func profileOptions() profile.Options {
	return profile.Options{
		Secret: profile.Passphrase("x"), Migrations: Migrations,
		Cost: &profile.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1},
	}
}

// start opens the profile, if it is closed, and a messenger on it.
func (p *person) start() {
	p.w.t.Helper()
	if err := p.tryStart(); err != nil {
		p.w.t.Fatalf("%s: %v", p.name, err)
	}
}

func (p *person) tryStart() (err error) {
	if p.p == nil {
		if p.p, err = profile.Open(p.dir, profileOptions()); err != nil {
			return err
		}
	}
	o := Options{
		Profile: p.p, Registry: p.w.registry(),
		Number: func(c *parley.Conversation) []byte { n, _ := ratchet.SafetyNumber(c); return n },
		Words:  func(n []byte) SafetyNumber { return SafetyNumber{Digits: fmt.Sprintf("%x", n)} },
		fault:  p.fault,
	}
	if os.Getenv("PARLEY_TEST_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("who", p.name)
	}
	if p.change != nil {
		p.change(&o)
	}
	p.m, err = Open(context.Background(), o)
	return err
}

// stop closes messenger and profile.
func (p *person) stop() {
	if p.m != nil {
		if err := p.m.Close(); err != nil {
			p.w.t.Errorf("%s: %v", p.name, err)
		}
		p.m = nil
	}
	if p.p != nil {
		if err := p.p.Close(); err != nil {
			p.w.t.Errorf("%s: %v", p.name, err)
		}
		p.p = nil
	}
}

// crash ends the messenger as if its process had died: nothing is committed from
// now on, whatever is under way.
func (p *person) crash() {
	p.m.mu.Lock()
	if p.m.crashed == nil {
		p.m.crashed = errCrash
	}
	p.m.mu.Unlock()
	p.m.cancel()
	p.m.wg.Wait()
	p.m = nil
	if err := p.p.Close(); err != nil {
		p.w.t.Errorf("%s: %v", p.name, err)
	}
	p.p = nil
}

// dead reports whether an injected fault has ended the messenger.
func (p *person) dead() bool {
	if p.m == nil {
		return true
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return p.m.crashed != nil
}

// until waits for a condition, in fake or in real time.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Minute)
	step := time.Second
	if !w.fake() {
		deadline, step = time.Now().Add(20*time.Second), 5*time.Millisecond
	}
	for !ok() {
		if time.Now().After(deadline) {
			for _, p := range w.open {
				w.t.Log(p.state())
			}
			w.t.Fatalf("still waiting: %s", what)
		}
		<-time.After(step)
	}
}

// fake reports whether time is synctest's, which begins in the year 2000.
func (w *world) fake() bool { return time.Now().Year() < 2020 }

// connect pairs two people and returns the names that they have for each other.
func (w *world) connect(a, b *person) {
	w.t.Helper()
	inv, err := a.m.Invite(w.t.Context(), InviteOptions{As: b.name})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := b.m.Accept(w.t.Context(), AcceptOptions{Invitation: inv.Text, As: a.name}); err != nil {
		w.t.Fatal(err)
	}
	w.connected(a, b)
}

func (w *world) connected(a, b *person) {
	w.t.Helper()
	w.until(a.name+" and "+b.name+" connect", func() bool {
		return a.contact(b.name).State == connected && b.contact(a.name).State == connected
	})
}

func (p *person) contact(name string) Contact {
	if p.m == nil {
		return Contact{}
	}
	c, err := p.m.Contact(context.Background(), name)
	if err != nil && !p.dead() && !errors.Is(err, ErrNoContact) {
		p.w.t.Fatalf("%s: %v", p.name, err)
	}
	return c
}

func (p *person) send(to, text string) Message {
	p.w.t.Helper()
	m, err := p.m.Send(context.Background(), to, text)
	if err != nil {
		p.w.t.Fatalf("%s: %v", p.name, err)
	}
	return m
}

// texts returns what came from a contact, in the order of the timeline.
func (p *person) texts(from string) (all []string) {
	p.w.t.Helper()
	h, err := p.m.History(context.Background(), from, 0)
	if err != nil {
		p.w.t.Fatalf("%s: %v", p.name, err)
	}
	for _, m := range h {
		if m.Direction == "in" && m.Kind == "text" {
			all = append(all, m.Text)
		}
	}
	return all
}

func (p *person) notices(from string) (all []string) {
	h, err := p.m.History(context.Background(), from, 0)
	if err != nil {
		p.w.t.Fatal(err)
	}
	for _, m := range h {
		if m.Kind == "notice" {
			all = append(all, m.Text)
		}
	}
	return all
}

func (p *person) wait(id string, s State) Message {
	p.w.t.Helper()
	limit := 20 * time.Second
	if p.w.fake() {
		limit = 30 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	m, err := p.m.Wait(ctx, id, s)
	if err != nil {
		q, _ := p.m.Queue(context.Background())
		p.w.t.Fatalf("%s waits for %s: %v; it is %s; queue %+v", p.name, s, err, m.State, q)
	}
	return m
}

// testSeeds is how many seeds a property test runs: PARLEY_SEEDS, or n.
func testSeeds(n int) int {
	if v, err := strconv.Atoi(os.Getenv("PARLEY_SEEDS")); err == nil {
		return v
	}
	return n
}

// state tells what a person has on disk, for failures.
func (p *person) state() string {
	if p.p == nil {
		return p.name + " is away"
	}
	s := p.name + ":"
	for _, q := range []string{
		"SELECT 'line '||id||' '||role||' '||state FROM lines",
		"SELECT 'path '||id||' '||dir||' '||relay||' '||state||' '||why FROM paths",
		"SELECT 'intent '||line||' '||kind FROM intents",
		"SELECT 'packet '||id||' '||kind||' relayed '||relayed FROM packets",
		"SELECT 'outbox '||packet||' path '||path||' tries '||tries||' next '||next||' '||why FROM outbox",
		"SELECT 'inbox '||id||' path '||path||' '||state||' '||why FROM inbox",
		"SELECT 'message '||text||' '||state FROM timeline WHERE length(text) < 40",
	} {
		rows, err := p.p.DB().Query(q)
		if err != nil {
			return err.Error()
		}
		for rows.Next() {
			var v string
			rows.Scan(&v)
			s += "\n\t" + v
		}
		rows.Close()
	}
	return s
}

// verify says of the present number that it was compared.
func (p *person) verify(name string, same bool) error {
	n, err := p.m.SafetyNumber(context.Background(), name)
	if err != nil {
		return err
	}
	return p.m.SetVerified(context.Background(), n, same)
}
