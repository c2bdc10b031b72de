package builtin_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/builtin"
	"parley/internal/rsakey"
	"parley/keydir/client"
	dirserver "parley/keydir/server"
	"parley/messenger"
	"parley/messenger/profile"
)

// A directory is the real one; its mails are files.
type directory struct {
	t   *testing.T
	dir string
	url string
	d   *dirserver.Directory
	at  string
	end chan error
}

func newDirectory(t *testing.T) *directory {
	d := &directory{t: t, dir: t.TempDir(), at: "127.0.0.1:0"}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *directory) start() {
	d.t.Helper()
	l, err := net.Listen("tcp", d.at)
	if err != nil {
		d.t.Fatal(err)
	}
	d.at = l.Addr().String()
	d.url = "http://" + d.at
	if d.d, err = dirserver.New(dirserver.Options{Dir: d.dir, URL: d.url}); err != nil {
		d.t.Fatal(err)
	}
	d.end = make(chan error, 1)
	go func(s *dirserver.Directory, end chan error) { end <- s.Serve(l) }(d.d, d.end)
}

func (d *directory) stop() {
	if d.d == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	d.d.Shutdown(ctx)
	<-d.end
	d.d = nil
}

var linkIn = regexp.MustCompile(`https?://[^\s"<>]+/users/[a-z0-9_-]+/[A-Za-z0-9_=-]{44}`)

// press follows the first (activation) or second (deletion) link of a user's mail.
func (d *directory) press(user string, which int) {
	d.t.Helper()
	var links []string
	for deadline := time.After(20 * time.Second); ; {
		files, err := filepath.Glob(d.dir + "/mail/*.eml")
		if err != nil {
			d.t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				d.t.Fatal(err)
			}
			plain, _ := io.ReadAll(quotedprintable.NewReader(strings.NewReader(string(b))))
			for _, l := range linkIn.FindAllString(string(plain), -1) {
				if strings.Contains(l, "/users/"+user+"/") && !slices.Contains(links, l) {
					links = append(links, l)
				}
			}
		}
		if len(links) > which {
			break
		}
		select {
		case <-deadline:
			d.t.Fatalf("no mail for %s in %v", user, files)
		case <-time.After(5 * time.Millisecond):
		}
	}
	r, err := http.Post(links[which], "", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	if b, _ := io.ReadAll(r.Body); r.StatusCode != 200 {
		d.t.Fatalf("%d %s", r.StatusCode, b)
	}
}

// nesKeys are made once: they take their time.
var nesKeys = sync.OnceValue(func() (all [8]*rsa.PrivateKey) {
	for i := range all {
		k, err := rsakey.Generate(2048)
		if err != nil {
			panic(err)
		}
		all[i] = k
	}
	return all
})

// private returns pair n of the keys.
func private(n int) client.Private {
	k := nesKeys()
	return client.Private{Message: k[2*n], Sign: k[2*n+1]}
}

// nesAccount makes an account with pair n of the keys, and with d registers it.
func (p *person) nesAccount(b *topicBroker, d *directory, name string, n int) {
	p.t.Helper()
	k := nesKeys()
	s := builtin.NESSetup{MessageKey: string(rsakey.EncodePrivate(k[2*n])), SignKey: string(rsakey.EncodePrivate(k[2*n+1]))}
	if d != nil {
		s.Directory = d.url
	}
	a, err := p.AddAccount(patience(p.t), messenger.AccountOptions{Kind: builtin.NES, Name: name, Server: "mqtt://" + b.at, Setup: s.Marshal()})
	if err != nil || a.State != "connected" || len(a.Fingerprint) != 1 {
		p.t.Fatalf("%+v, %v", a, err)
	}
	if d == nil {
		return
	}
	if a, err = p.Register(patience(p.t), builtin.NES, name, name+"@example.test"); err != nil || !a.Registered {
		p.t.Fatalf("%+v, %v", a, err)
	}
	d.press(name, 0)
}

func (p *person) addNES(user string) messenger.Contact {
	p.t.Helper()
	c, err := p.AddPeer(patience(p.t), messenger.PeerOptions{Kind: builtin.NES, User: user})
	if err != nil {
		p.t.Fatal(err)
	}
	p.until("keys of "+user, func() bool { return p.contact(user).State == "connected" })
	return c
}

func (p *person) contact(name string) messenger.Contact {
	p.t.Helper()
	c, err := p.Contact(p.t.Context(), name)
	if err != nil && !errors.Is(err, messenger.ErrNoContact) {
		p.t.Fatal(err)
	}
	return c
}

// hears waits for a text.
func (p *person) hears(from, text string) {
	p.t.Helper()
	p.until(text, func() bool {
		return p.contact(from).Name != "" && slices.Contains(p.texts(from), text)
	})
}

func TestNES(t *testing.T) {
	b, d := newBroker(t, ""), newDirectory(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.nesAccount(b, d, "alice", 0)
	bob.nesAccount(b, d, "bob", 1)
	alice.addNES("bob")

	// Bob has not added Alice: the directory's word makes her a contact, and says so.
	alice.say("bob", "Hello Bob! zażółć <>&\"\\", messenger.AtRelay)
	bob.hears("alice", "Hello Bob! zażółć <>&\"\\")
	bob.noticed("alice", "You did not add alice")
	c := bob.contact("alice")
	if c.Protocol != "nes" || c.Account != "bob" || c.User != "alice" || c.Verified || !slices.ContainsFunc(c.Lacks, func(s string) bool { return strings.Contains(s, "not added") }) {
		t.Errorf("%+v", c)
	}
	bob.addNES("alice")
	if c := bob.contact("alice"); slices.ContainsFunc(c.Lacks, func(s string) bool { return strings.Contains(s, "not added") }) {
		t.Errorf("%+v", c)
	}
	bob.say("alice", "1", messenger.AtRelay)
	alice.hears("bob", "1")

	// What is sent while the other is away arrives, once, in order; also over a broker
	// that is restarted meanwhile, and with the directory gone.
	bob.stop()
	d.stop()
	for _, s := range []string{"2", "3", "4"} {
		alice.say("bob", s, messenger.AtRelay)
	}
	b.stop()
	b.start()
	bob.start()
	bob.hears("alice", "4")
	if got := bob.texts("alice"); !slices.Equal(got[1:], []string{"2", "3", "4"}) {
		t.Errorf("%q", got)
	}

	// Both compare the same number.
	an, err := alice.SafetyNumber(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	bn, err := bob.SafetyNumber(t.Context(), "alice")
	if err != nil || an.Digits != bn.Digits || len(an.Words) == 0 {
		t.Errorf("%+v, %+v, %v", an, bn, err)
	}
	if err := alice.verify("bob", true); err != nil || !alice.contact("bob").Verified {
		t.Error(err)
	}
	alice.stop()
	alice.start()
	if c := alice.contact("bob"); !c.Verified || c.KeyChanged {
		t.Errorf("after a restart: %+v", c)
	}
}

func TestNESRefusals(t *testing.T) {
	b, d := newBroker(t, ""), newDirectory(t)
	p := newPerson(t, "alice")
	p.nesAccount(b, d, "alice", 0)
	ctx := patience(t)
	k := nesKeys()
	setup := builtin.NESSetup{MessageKey: string(rsakey.EncodePrivate(k[2])), SignKey: string(rsakey.EncodePrivate(k[3]))}
	same := setup
	same.SignKey = same.MessageKey
	for name, o := range map[string]messenger.AccountOptions{
		"twice":      {Kind: builtin.NES, Name: "alice", Server: "mqtt://" + b.at, Setup: setup.Marshal()},
		"name":       {Kind: builtin.NES, Name: "Alice", Server: "mqtt://" + b.at, Setup: setup.Marshal()},
		"name / ":    {Kind: builtin.NES, Name: "alice/../bob", Server: "mqtt://" + b.at, Setup: setup.Marshal()},
		"server":     {Kind: builtin.NES, Name: "carol", Server: "http://" + b.at, Setup: setup.Marshal()},
		"path":       {Kind: builtin.NES, Name: "carol", Server: "mqtt://" + b.at + "/x", Setup: setup.Marshal()},
		"one key":    {Kind: builtin.NES, Name: "carol", Server: "mqtt://" + b.at, Setup: same.Marshal()},
		"no key":     {Kind: builtin.NES, Name: "carol", Server: "mqtt://" + b.at, Setup: []byte("{}")},
		"no setup":   {Kind: builtin.NES, Name: "carol", Server: "mqtt://" + b.at},
		"other kind": {Kind: "icq", Name: "carol", Server: "mqtt://" + b.at, Setup: setup.Marshal()},
	} {
		if a, err := p.AddAccount(ctx, o); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	if all, err := p.Accounts(ctx); err != nil || len(all) != 1 || all[0].Server != "mqtt://"+b.at || len(all[0].PublicKeys) != 2 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := p.Register(ctx, builtin.NES, "alice", "a@b"); !errors.Is(err, messenger.ErrDirectory) || !strings.Contains(err.Error(), "user already exist") {
		t.Error(err)
	}
	for name, o := range map[string]messenger.PeerOptions{
		"us": {Kind: builtin.NES, User: "alice"}, "path": {Kind: builtin.NES, User: "bob?x"}, "wild": {Kind: builtin.NES, User: "bo+"},
		"no such account": {Kind: builtin.NES, Account: "dave", User: "bob"}, "bad keys": {Kind: builtin.NES, User: "bob", Keys: []byte("{}")},
	} {
		if c, err := p.AddPeer(ctx, o); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	// A user whom nobody knows: the message waits, and the queue says why.
	if _, err := p.AddPeer(ctx, messenger.PeerOptions{Kind: builtin.NES, User: "nobody"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Send(ctx, "nobody", "x"); err != nil {
		t.Fatal(err)
	}
	p.until("reason", func() bool {
		q, err := p.Queue(ctx)
		return err == nil && len(q) == 1 && strings.Contains(q[0].Why, "knows no such user")
	})
	if _, err := p.Send(ctx, "nobody", strings.Repeat("x", 97<<10)); !errors.Is(err, messenger.ErrTooLong) {
		t.Error(err)
	}
	if err := p.SetReceipts(ctx, "nobody", "read"); !errors.Is(err, messenger.ErrState) {
		t.Error(err)
	}
	if err := p.RemoveAccount(ctx, builtin.NES, "alice"); err != nil {
		t.Fatal(err)
	}
	if all, err := p.Contacts(ctx); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	p.nesAccount(b, nil, "alice", 0) // the broker has forgotten the old mailbox
}

// TestDefect2KeySwap gives Bob new keys at the directory, first with his old key's
// word for it, then without.
func TestDefect2KeySwap(t *testing.T) {
	for _, vouched := range []bool{true, false} {
		b, d := newBroker(t, ""), newDirectory(t)
		alice, bob, other := newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "other")
		alice.nesAccount(b, d, "alice", 0)
		bob.nesAccount(b, d, "bob", 1)
		alice.addNES("bob")
		bob.addNES("alice")
		bob.say("alice", "before", messenger.AtRelay)
		alice.hears("bob", "before")
		if err := alice.verify("bob", true); err != nil {
			t.Fatal(err)
		}
		bob.stop()

		// Whoever now writes as Bob, with other keys, goes by the directory's word alone.
		c, err := client.New(client.Options{URL: d.url})
		if err != nil {
			t.Fatal(err)
		}
		if vouched {
			if _, _, err := c.Rotate(t.Context(), "bob", private(1).Sign, private(2)); err != nil {
				t.Fatal(err)
			}
			other.nesAccount(b, nil, "bob", 2)
		} else {
			d.press("bob", 1)
			if err := c.Register(t.Context(), "bob", "mallory@example.test", private(2)); err != nil {
				t.Fatal(err)
			}
			other.nesAccount(b, nil, "bob", 2)
			d.press("bob", 2)
		}
		c.Close()
		keys := nesKeys()
		hand := builtin.MarshalNESKeys(rsakey.EncodePublic(&keys[0].PublicKey), rsakey.EncodePublic(&keys[1].PublicKey))
		if _, err := other.AddPeer(t.Context(), messenger.PeerOptions{Kind: builtin.NES, User: "alice", Keys: hand}); err != nil {
			t.Fatal(err)
		}
		other.say("alice", "under the new key", messenger.AtRelay)
		// The look-up because of doubt comes a little after the last one; not here.
		alice.stop()
		if err := alice.lookAgain(); err != nil {
			t.Fatal(err)
		}
		alice.start()
		alice.until("change", func() bool { return alice.contact("bob").KeyChanged })
		got := alice.contact("bob")
		if got.Verified || len(got.Key) != 1 || len(got.NewKey) != 1 || got.Key[0] == got.NewKey[0] {
			t.Errorf("%+v", got)
		}
		alice.noticed("bob", got.Key[0])
		alice.noticed("bob", got.NewKey[0])
		want := "The old key has signed the new one"
		if !vouched {
			want = "Nothing shows that the same person has both"
		}
		alice.noticed("bob", want)
		m, err := alice.Send(t.Context(), "bob", "held back")
		if err != nil {
			t.Fatal(err)
		}
		alice.until("reason", func() bool {
			q, err := alice.Queue(t.Context())
			return err == nil && len(q) == 1 && strings.Contains(q[0].Why, "have changed")
		})
		if slices.Contains(alice.texts("bob"), "under the new key") || slices.Contains(other.texts("alice"), "held back") {
			t.Error("the conversation was not stopped")
		}
		alice.stop()
		alice.start()
		if c := alice.contact("bob"); !c.KeyChanged || len(c.NewKey) != 1 {
			t.Errorf("forgotten at a restart: %+v", c)
		}
		// Only the user's word lets it go on.
		n, err := alice.SafetyNumber(t.Context(), "bob")
		if err != nil || n.Verified {
			t.Errorf("%+v, %v", n, err)
		}
		if o, err := other.SafetyNumber(t.Context(), "alice"); err != nil || o.Digits != n.Digits {
			t.Errorf("%s and %s, %v", o.Digits, n.Digits, err)
		}
		if err := alice.verify("bob", true); err != nil {
			t.Fatal(err)
		}
		alice.hears("bob", "under the new key")
		if m, err = alice.Wait(patience(t), m.ID, messenger.AtRelay); err != nil || m.State != messenger.AtRelay {
			t.Errorf("%+v, %v", m, err)
		}
		other.hears("alice", "held back")
		if c := alice.contact("bob"); !c.Verified || c.KeyChanged || c.NewKey != nil {
			t.Errorf("%+v", c)
		}
		for _, p := range []*person{alice, bob, other} {
			p.stop()
		}
	}
}

// TestNESRotate gives Bob new keys by his own messenger, also when the directory's
// answer got lost; what was sealed to the old key still opens.
func TestNESRotate(t *testing.T) {
	b, d := newBroker(t, ""), newDirectory(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.nesAccount(b, d, "alice", 0)
	bob.nesAccount(b, d, "bob", 1)
	alice.addNES("bob")
	bob.addNES("alice")
	k := nesKeys()
	setup := builtin.NESSetup{MessageKey: string(rsakey.EncodePrivate(k[4])), SignKey: string(rsakey.EncodePrivate(k[5]))}
	before, err := bob.SafetyNumber(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	d.stop() // the keys are kept, and taken up again
	if _, err := bob.RotateAccount(patience(t), builtin.NES, "bob", setup.Marshal()); !errors.Is(err, parley.ErrOffline) {
		t.Fatal(err)
	}
	// Meanwhile nobody knows which keys others take for his: nothing is sealed.
	held, err := bob.Send(t.Context(), "alice", "held back")
	if err != nil {
		t.Fatal(err)
	}
	bob.until("reason", func() bool {
		q, err := bob.Queue(t.Context())
		return err == nil && len(q) == 1 && strings.Contains(q[0].Why, "new keys are on their way")
	})
	bob.stop()
	d.start()
	c, err := client.New(client.Options{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Rotate(t.Context(), "bob", private(1).Sign, private(2)); err != nil { // whose answer got lost
		t.Fatal(err)
	}
	alice.say("bob", "to the old key", messenger.AtRelay)
	bob.start() // it goes on by itself
	bob.hears("alice", "to the old key")
	bob.until("new keys", func() bool {
		all, err := bob.Accounts(t.Context())
		return err == nil && !all[0].Rotating && all[0].Fingerprint[0] == client.Fingerprint(must(private(2).Keys())).String()
	})
	if m, err := bob.Wait(patience(t), held.ID, messenger.AtRelay); err != nil || m.State != messenger.AtRelay {
		t.Errorf("%+v, %v", m, err)
	}
	alice.say("bob", "to the old key again", messenger.AtRelay)
	bob.hears("alice", "to the old key again")
	if after, err := bob.SafetyNumber(t.Context(), "alice"); err != nil || after.Digits == before.Digits {
		t.Error(after, err)
	}
	if c := bob.contact("alice"); c.KeyChanged || c.Verified {
		t.Errorf("%+v", c)
	}
	bob.stop()
	bob.start()
	if c := bob.contact("alice"); c.KeyChanged {
		t.Errorf("after a restart: %+v", c)
	}
	// And once more, this time all of it by the messenger, while something is sealed that
	// the broker does not have.
	alice.until("change", func() bool { return alice.contact("bob").KeyChanged })
	if err := alice.verify("bob", true); err != nil {
		t.Fatal(err)
	}
	alice.hears("bob", "held back")
	b.stop()
	sealed, err := bob.Send(t.Context(), "alice", "sealed under the old key")
	if err != nil {
		t.Fatal(err)
	}
	bob.until("packet", func() bool {
		n := 0
		err := bob.p.Tx(t.Context(), func(tx *profile.Tx) error {
			return tx.QueryRowContext(t.Context(), "SELECT count(*) FROM packets WHERE relayed = 0").Scan(&n)
		})
		return err == nil && n == 1
	})
	setup = builtin.NESSetup{MessageKey: string(rsakey.EncodePrivate(k[6])), SignKey: string(rsakey.EncodePrivate(k[7]))}
	if _, err := bob.RotateAccount(patience(t), builtin.NES, "bob", setup.Marshal()); err != nil {
		t.Fatal(err)
	}
	if answer, keys, err := c.Lookup(t.Context(), "bob"); err != nil || answer.Version != 3 || !keys.Equal(must(private(3).Keys())) {
		t.Errorf("%+v, %v", answer, err)
	}
	if err := alice.restartedAfterLook(); err != nil {
		t.Fatal(err)
	}
	alice.until("change", func() bool { return alice.contact("bob").KeyChanged })
	if err := alice.verify("bob", true); err != nil {
		t.Fatal(err)
	}
	b.start()
	if m, err := bob.Wait(patience(t), sealed.ID, messenger.AtRelay); err != nil || m.State != messenger.AtRelay {
		t.Errorf("%+v, %v", m, err)
	}
	alice.hears("bob", "sealed under the old key")
	alice.say("bob", "to the newest key", messenger.AtRelay)
	bob.hears("alice", "to the newest key")
}

// TestNESRotateBadAnswer: the directory has taken the new keys, the answer got lost, and
// the next thing that answers in its place knows nobody. No key is thrown away.
func TestNESRotateBadAnswer(t *testing.T) {
	b, d := newBroker(t, ""), newDirectory(t)
	bob := newPerson(t, "bob")
	bob.nesAccount(b, d, "bob", 1)
	k := nesKeys()
	setup := builtin.NESSetup{MessageKey: string(rsakey.EncodePrivate(k[4])), SignKey: string(rsakey.EncodePrivate(k[5]))}
	d.stop()
	if _, err := bob.RotateAccount(patience(t), builtin.NES, "bob", setup.Marshal()); !errors.Is(err, parley.ErrOffline) {
		t.Fatal(err)
	}
	bob.stop()
	d.start()
	c, err := client.New(client.Options{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.Rotate(t.Context(), "bob", private(1).Sign, private(2)); err != nil {
		t.Fatal(err)
	}
	d.stop()
	l, err := net.Listen("tcp", d.at)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 64)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
		http.NotFound(w, r)
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	bob.start()
	for path := ""; path != "/users/bob"; {
		select {
		case path = <-asked:
		case <-patience(t).Done():
			t.Fatal("nobody is asked")
		}
	}
	if _, err := bob.RotateAccount(patience(t), builtin.NES, "bob", setup.Marshal()); !errors.Is(err, messenger.ErrState) {
		t.Error(err)
	}
	s.Close()
	<-ended
	d.start()
	if _, err := bob.RotateAccount(patience(t), builtin.NES, "bob", setup.Marshal()); err != nil {
		t.Error(err)
	}
	all, err := bob.Accounts(t.Context())
	if err != nil || all[0].Rotating || all[0].Fingerprint[0] != client.Fingerprint(must(private(2).Keys())).String() {
		t.Errorf("%+v, %v", all, err)
	}
}

// restartedAfterLook starts the person again, with the keys of all contacts due.
func (p *person) restartedAfterLook() error {
	p.stop()
	err := p.lookAgain()
	p.start()
	return err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestDefect7StalledDirectory has a directory that accepts and stays silent: who is
// known already is heard and written to all the same.
func TestDefect7StalledDirectory(t *testing.T) {
	b, d := newBroker(t, ""), newDirectory(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.nesAccount(b, d, "alice", 0)
	bob.nesAccount(b, d, "bob", 1)
	alice.addNES("bob")
	bob.addNES("alice")
	d.stop()
	l, err := net.Listen("tcp", d.at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := alice.AddPeer(t.Context(), messenger.PeerOptions{Kind: builtin.NES, User: "carol"}); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Send(t.Context(), "carol", "waits"); err != nil {
		t.Fatal(err)
	}
	alice.say("bob", "past it", messenger.AtRelay)
	bob.hears("alice", "past it")
	bob.say("alice", "and back", messenger.AtRelay)
	alice.hears("bob", "and back")
}

// TestNESByHand has no directory at all.
func TestNESByHand(t *testing.T) {
	b := newBroker(t, "")
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.nesAccount(b, nil, "alice", 0)
	bob.nesAccount(b, nil, "bob", 1)
	add := func(p *person, user string, n int) {
		t.Helper()
		k := nesKeys()
		keys := builtin.MarshalNESKeys(rsakey.EncodePublic(&k[2*n].PublicKey), rsakey.EncodePublic(&k[2*n+1].PublicKey))
		if c, err := p.AddPeer(t.Context(), messenger.PeerOptions{Kind: builtin.NES, User: user, Keys: keys, As: "my " + user}); err != nil || c.State != "connected" {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	add(alice, "bob", 1)
	alice.say("my bob", "by hand", messenger.AtRelay)
	// Bob does not know her keys: it waits, counted, until he has them.
	bob.until("wait", func() bool {
		all, err := bob.Accounts(t.Context())
		return err == nil && all[0].Waiting == 1
	})
	add(bob, "alice", 0)
	bob.hears("my alice", "by hand")
	if _, err := alice.Register(t.Context(), builtin.NES, "alice", "a@b"); !errors.Is(err, messenger.ErrState) {
		t.Error(err)
	}
}

func TestNESPresence(t *testing.T) {
	b, d := newBroker(t, ""), newDirectory(t)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.nesAccount(b, d, "alice", 0)
	bob.nesAccount(b, d, "bob", 1)
	alice.addNES("bob")
	bob.addNES("alice")
	listen := func(p *person) context.CancelFunc {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.Listen(ctx, "", func(messenger.Message) error { return nil })
		}()
		return func() { cancel(); <-ended }
	}
	for _, p := range []*person{alice, bob} {
		name := map[*person]string{alice: "alice", bob: "bob"}[p]
		if a, err := p.SetPresence(t.Context(), builtin.NES, name, true); err != nil || !a.Presence {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	stop := listen(alice)
	defer func() { stop() }()
	// Bob comes later, and the broker has kept the word for him.
	stopBob := listen(bob)
	bob.until("presence", func() bool { return bob.contact("alice").Presence == "online" })
	alice.until("presence", func() bool { return alice.contact("bob").Presence == "online" })
	stopBob()
	bob.stop()
	alice.until("absence", func() bool { return alice.contact("bob").Presence == "offline" })
	if got := alice.texts("bob"); len(got) != 0 {
		t.Errorf("presence in the timeline: %q", got)
	}
	bob.start()
	stopBob = listen(bob)
	defer func() { stopBob() }()
	alice.until("return", func() bool { return alice.contact("bob").Presence == "online" })
	// Switched off, the broker forgets it.
	if _, err := bob.SetPresence(t.Context(), builtin.NES, "bob", false); err != nil {
		t.Fatal(err)
	}
	if c := bob.contact("alice"); c.Presence != "" {
		t.Errorf("%+v", c)
	}
}

// lookAgain makes the keys of all contacts be looked up at the next start.
func (p *person) lookAgain() error {
	prof, err := profile.Open(p.dir, options())
	if err != nil {
		return err
	}
	err = prof.Tx(p.t.Context(), func(t *profile.Tx) error {
		_, err := t.ExecContext(p.t.Context(), "UPDATE lines SET looked = 0 WHERE account IS NOT NULL")
		return err
	})
	return errors.Join(err, prof.Close())
}
