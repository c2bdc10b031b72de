package builtin_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley"
	"parley/broker"
	"parley/builtin"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
	smpserver "parley/carrier/smp/server"
	"parley/messenger"
	"parley/messenger/profile"
	"parley/parleytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var relayKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// A relay is the real front on the real broker; its store is in memory.
type relay struct {
	t      *testing.T
	b      *broker.Broker
	at     string
	server *smpserver.Server
	ended  chan error
}

func newRelay(t *testing.T) *relay {
	r := &relay{t: t, at: "127.0.0.1:0", b: broker.New(parleytest.NewStore(), broker.Options{})}
	r.start()
	t.Cleanup(func() { r.stop(); r.b.Close() })
	return r
}

func (r *relay) start() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.at = l.Addr().String()
	if r.server, err = smpserver.New(r.b, relayKey(), smpserver.Options{}); err != nil {
		r.t.Fatal(err)
	}
	r.ended = make(chan error, 1)
	go func(s *smpserver.Server, ended chan error) { ended <- s.Serve(l) }(r.server, r.ended)
}

func (r *relay) stop() {
	if r.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r.server.Shutdown(ctx)
	<-r.ended
	r.server = nil
}

func (r *relay) address() string {
	host, port, err := smp.SplitHostPort(r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	return smp.Server{Host: host, Port: port, KeyHash: smp.HashKey(keyDER(r.t))}.String()
}

func keyDER(t *testing.T) []byte {
	der, err := smp.MarshalKey(&relayKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

type person struct {
	t   *testing.T
	dir string
	p   *profile.Profile
	*messenger.Messenger
}

func options() profile.Options {
	return profile.Options{Secret: profile.Passphrase("x"), Migrations: messenger.Migrations, Cost: &profile.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}}
}

func newPerson(t *testing.T, name string) *person {
	p := &person{t: t, dir: filepath.Join(t.TempDir(), name)}
	prof, err := profile.Create(p.dir, options())
	if err != nil {
		t.Fatal(err)
	}
	if err := messenger.SaveSettings(t.Context(), prof, messenger.Settings{Name: name, Receipts: "read"}); err != nil {
		t.Fatal(err)
	}
	p.p = prof
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *person) start() {
	var err error
	if p.p == nil {
		if p.p, err = profile.Open(p.dir, options()); err != nil {
			p.t.Fatal(err)
		}
	}
	if p.Messenger, err = builtin.Open(p.p, builtin.Options{}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) stop() {
	if p.p == nil {
		return
	}
	if err := errors.Join(p.Close(), p.p.Close()); err != nil {
		p.t.Error(err)
	}
	p.p = nil
}

func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// met waits until the contact is connected.
func (p *person) met(name string) {
	p.t.Helper()
	ctx := patience(p.t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := p.Contact(ctx, name)
		if err == nil && c.State == "connected" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s, _ := p.Status(context.Background())
			p.t.Fatalf("%s is not connected: %+v %v %+v", name, c, err, s)
		}
	}
}

// say sends, and waits for the state.
func (p *person) say(to, text string, until messenger.State) {
	p.t.Helper()
	m, err := p.Send(p.t.Context(), to, text)
	if err != nil {
		p.t.Fatal(err)
	}
	if m, err = p.Wait(patience(p.t), m.ID, until); err != nil {
		q, _ := p.Queue(context.Background())
		p.t.Fatalf("%v: %.80v %+v", err, m, q)
	}
}

// texts returns what has come from a contact.
func (p *person) texts(from string) (all []string) {
	p.t.Helper()
	h, err := p.History(p.t.Context(), from, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range h {
		if m.Direction == "in" && m.Kind == "text" {
			all = append(all, m.Text)
		}
	}
	return all
}

func connect(t *testing.T, a, b *person, relays ...string) {
	t.Helper()
	inv, err := a.Invite(patience(t), messenger.InviteOptions{Relays: relays, As: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	if len(relays) == 1 && len(inv.Text) > 758 {
		t.Fatalf("an invitation of %d characters does not fit a QR code of version 15", len(inv.Text))
	}
	if _, err := b.Accept(patience(t), messenger.AcceptOptions{Invitation: strings.ToLower(inv.Text), Relays: relays}); err != nil {
		t.Fatal(err)
	}
	a.met("bob")
	b.met("alice")
}

func TestRealStack(t *testing.T) {
	r := newRelay(t)
	a, b := newPerson(t, "alice"), newPerson(t, "bob")
	connect(t, a, b, r.address())
	a.say("bob", "hello", messenger.AtDevice)
	b.say("alice", "and to you", messenger.AtDevice)
	long := strings.Repeat("a long text, ", 16_000)
	b.say("alice", long, messenger.AtDevice)
	if got := a.texts("bob"); len(got) != 2 || got[1] != long {
		t.Fatal(len(got))
	}
	// A relay that goes away and comes back, and a process that does.
	r.stop()
	m, err := a.Send(t.Context(), "bob", "while the relay is away")
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	a.start()
	r.start()
	if _, err := a.Wait(patience(t), m.ID, messenger.AtDevice); err != nil {
		t.Fatal(err)
	}
	if got := b.texts("alice"); len(got) != 2 || got[1] != "while the relay is away" {
		t.Fatal(got)
	}
	na, err1 := a.SafetyNumber(t.Context(), "bob")
	nb, err2 := b.SafetyNumber(t.Context(), "alice")
	if err1 != nil || err2 != nil || na.Digits == "" || na.Digits != nb.Digits || len(na.Words) != 13 || na.QR != nb.QR {
		t.Fatal(na, nb, err1, err2)
	}
	s, err := a.Status(t.Context())
	if err != nil || len(s.Relays) != 1 || !s.Relays[0].Connected || s.Relays[0].Mailboxes != 1 || s.Relays[0].Address != r.address() {
		t.Fatalf("%+v %v", s, err)
	}
}

// TestTwoRelays: the same messages go through both, are shown once, and the death
// of one loses nothing and delays nothing.
func TestTwoRelays(t *testing.T) {
	one, two := newRelay(t), newRelay(t)
	a, b := newPerson(t, "alice"), newPerson(t, "bob")
	connect(t, a, b, one.address(), two.address())
	a.say("bob", "through both", messenger.AtDevice)
	one.stop()
	a.say("bob", "through two", messenger.AtDevice)
	b.say("alice", "back through two", messenger.AtDevice)
	one.start()
	two.stop()
	a.say("bob", "through one", messenger.AtDevice)
	two.start()
	a.say("bob", "through both again", messenger.AtDevice)
	want := []string{"through both", "through two", "through one", "through both again"}
	if got := b.texts("alice"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatal(got)
	}
}

func TestBare(t *testing.T) {
	r := newRelay(t)
	a, b := newPerson(t, "alice"), newPerson(t, "bob")
	inv, err := a.Invite(patience(t), messenger.InviteOptions{Relays: []string{r.address()}, As: "bob", Bare: true})
	if err != nil || !inv.Bare {
		t.Fatal(inv, err)
	}
	if _, err := smp.ParseOutOfBand(inv.Text); err != nil {
		t.Fatal("not the text's out-of-band message: ", err)
	}
	if _, err := a.Accept(patience(t), messenger.AcceptOptions{Invitation: inv.Text}); !errors.Is(err, messenger.ErrInvitation) {
		t.Fatal("one's own:", err)
	}
	if _, err := b.Accept(patience(t), messenger.AcceptOptions{Invitation: inv.Text, As: "alice"}); err != nil {
		t.Fatal(err)
	}
	a.met("bob")
	b.met("alice")
	a.say("bob", "bare words", messenger.AtRelay)
	b.say("alice", "and back", messenger.AtRelay)
	if got := b.hearOne(); got != "bare words" {
		t.Fatal(got)
	}
	if got := a.hearOne(); got != "and back" {
		t.Fatal(got)
	}
	m, _ := a.Send(t.Context(), "bob", "again")
	if _, err := a.Wait(patience(t), m.ID, messenger.AtDevice); !errors.Is(err, messenger.ErrState) || !strings.Contains(err.Error(), "receipts") {
		t.Fatal(err)
	}
	if _, err := a.Send(t.Context(), "bob", strings.Repeat("x", 5000)); !errors.Is(err, messenger.ErrTooLong) {
		t.Fatal(err)
	}
	c, err := a.Contact(t.Context(), "bob")
	if err != nil || c.Protocol != "smp-bare" || len(c.Promises) != 1 || len(c.Lacks) < 5 {
		t.Fatalf("%+v %v", c, err)
	}
	if _, err := a.SafetyNumber(t.Context(), "bob"); !errors.Is(err, messenger.ErrState) {
		t.Fatal(err)
	}
}

// hearOne returns the next text that nobody has shown.
func (p *person) hearOne() (text string) {
	p.t.Helper()
	ctx, stop := context.WithCancel(patience(p.t))
	defer stop()
	if err := p.Listen(ctx, "", func(m messenger.Message) error { text = m.Text; stop(); return nil }); !errors.Is(err, context.Canceled) {
		p.t.Fatal(err)
	}
	return text
}

// TestBareOneWay: another client of the text, which knows nothing of our ways,
// confirms with words of its own and writes.
func TestBareOneWay(t *testing.T) {
	r := newRelay(t)
	a := newPerson(t, "alice")
	inv, err := a.Invite(patience(t), messenger.InviteOptions{Relays: []string{r.address()}, As: "stranger", Bare: true})
	if err != nil {
		t.Fatal(err)
	}
	c := smpclient.New(smpclient.Options{})
	defer c.Close()
	box, err := smpclient.FromOutOfBand(inv.Text)
	if err != nil {
		t.Fatal(err)
	}
	end, err := c.Join(t.Context(), box.Address())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // as after an answer that got lost: it is no message
		if err := c.Confirm(patience(t), end, []byte("\nI am a plain client\n")); err != nil {
			t.Fatal(err)
		}
	}
	a.met("stranger")
	ctx := patience(t)
	for { // until alice has secured the mailbox
		_, err := c.Send(ctx, end, []byte("\nhello from afar\n"))
		if err == nil {
			break
		}
		if !errors.Is(err, parley.ErrDenied) {
			t.Fatal(err)
		}
	}
	if got := a.hearOne(); got != "hello from afar" {
		t.Fatal(got)
	}
	h, err := a.History(t.Context(), "stranger", 0)
	if err != nil || h[0].Kind != "notice" || !strings.Contains(h[0].Text, "I am a plain client") {
		t.Fatalf("%+v %v", h, err)
	}
	if _, err := a.Send(t.Context(), "stranger", "hello?"); !errors.Is(err, messenger.ErrState) || !strings.Contains(err.Error(), "no mailbox") {
		t.Fatal(err)
	}
}

// verify says of the present number that it was compared.
func (p *person) verify(name string, same bool) error {
	n, err := p.SafetyNumber(p.t.Context(), name)
	if err != nil {
		return err
	}
	return p.SetVerified(p.t.Context(), n, same)
}
