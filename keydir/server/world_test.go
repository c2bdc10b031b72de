package server

import (
	"context"
	"crypto/rsa"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/internal/rsakey"
	"parley/keydir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vectors are of the original (testdata/vectors.json).
type vectors struct {
	Users map[string]struct {
		Message, Sign struct {
			Private string `json:"private_pem"`
			Public  string `json:"public_pem"`
		}
	}
	ServerKey struct {
		Private string `json:"private_pem"`
		Public  string `json:"public_pem"`
	} `json:"server_key"`
	RegisterRequest struct{ Body string } `json:"register_request"`
	KeyService      struct {
		Register []struct {
			Name, Body, Response string
			Status               int
		}
		OtherRequests []struct {
			Method, Path, Response string
			Status                 int
		} `json:"other_requests"`
	} `json:"key_service"`
}

//go:embed testdata/vectors.json
var vectorFile []byte

var known = sync.OnceValue(func() (v vectors) {
	if err := json.Unmarshal(vectorFile, &v); err != nil {
		panic(err)
	}
	return v
})

// A pair is a user's private keys.
type pair struct{ message, sign *rsa.PrivateKey }

func (p pair) keys() keydir.Keys {
	return keydir.Keys{Message: &p.message.PublicKey, Sign: &p.sign.PublicKey}
}

func pairOf(name string) pair {
	u := known().Users[name]
	parse := func(text string) *rsa.PrivateKey {
		k, err := rsakey.ParsePrivate([]byte(text))
		if err != nil {
			panic(err)
		}
		return k
	}
	return pair{parse(u.Message.Private), parse(u.Sign.Private)}
}

// A clock is moved by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// plenty is more than any test asks for.
var plenty = Limits{RegistrationsPerHour: 1e9, RegistrationBurst: 1e9, LookupsPerSecond: 1e9, LookupBurst: 1e9, MailsPerDay: 1e6}

// A world is a directory with a clock, asked without a network; mails are sent when
// mails is called.
type world struct {
	t     testing.TB
	d     *Directory
	o     Options
	clock *clock
}

const testURL = "https://keys.example/pubkey"

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	c := &clock{t: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	o.Now = c.now
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "keydir")
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		// A key of 2048 bits, for speed.
		if err := os.WriteFile(filepath.Join(o.Dir, keyName), []byte(known().Users["bob"].Sign.Private), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if o.Limits == (Limits{}) {
		o.Limits = plenty
	}
	if o.URL == "" {
		o.URL = testURL
	}
	if o.Trouble == nil {
		o.Trouble = func(what string, err error) { t.Errorf("trouble: %s: %v", what, err) }
	}
	w := &world{t: t, o: o, clock: c}
	w.open()
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) open() {
	w.t.Helper()
	d, err := New(w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.d = d
}

func (w *world) close() {
	w.t.Helper()
	if err := w.d.Shutdown(context.Background()); err != nil {
		w.t.Error(err)
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

// ask sends a request; header is a list of names and values.
func (w *world) ask(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://keys.example"+path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.d.http.Handler.ServeHTTP(rec, r)
	return rec
}

// want asks and checks the code and the whole body.
func (w *world) want(method, path, body string, code int, text string, header ...string) {
	w.t.Helper()
	rec := w.ask(method, path, body, header...)
	if rec.Code != code || rec.Body.String() != text {
		w.t.Fatalf("%s %.40s: %d %q, want %d %q", method, path, rec.Code, rec.Body, code, text)
	}
}

// registration is the body of POST /users.
func registration(name, email string, k keydir.Keys, proof *keydir.Proof) string {
	b, err := json.Marshal(keydir.Registration{Username: name, Email: email, Proof: proof,
		MessageKey: string(rsakey.EncodePublic(k.Message)), SignKey: string(rsakey.EncodePublic(k.Sign))})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// register registers a name with a user's keys and returns the paths of both links.
func (w *world) register(name string, p pair) (activate, remove string) {
	w.t.Helper()
	if rec := w.ask("POST", "/users", registration(name, name+"@mail.example", p.keys(), nil)); rec.Code != http.StatusCreated {
		w.t.Fatalf("register %s: %d %s", name, rec.Code, rec.Body)
	}
	links := linksIn(w.lastMail())
	if len(links) != 2 {
		w.t.Fatalf("the mail has %d links", len(links))
	}
	return links[0], links[1]
}

// enrol registers and activates a name and returns the path that deletes it.
func (w *world) enrol(name string, p pair) (remove string) {
	w.t.Helper()
	activate, remove := w.register(name, p)
	w.want("POST", activate, "", 200, "user activated\n")
	return remove
}

// send sends every mail that is due.
func (w *world) send() {
	w.t.Helper()
	for {
		var all []*waiting
		if err := w.d.store.read(func(c *conn) (err error) { all, _, err = c.due(w.clock.now()); return err }); err != nil {
			w.t.Fatal(err)
		}
		if len(all) == 0 {
			return
		}
		w.d.carry(context.Background(), all)
	}
}

// mails sends what is due and returns all mails that have become files.
func (w *world) mails() (all []string) {
	w.t.Helper()
	w.send()
	names, err := filepath.Glob(filepath.Join(w.o.Dir, mailName, "*.eml"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			w.t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

// lastMail sends what is due and returns the only mail, which it removes.
func (w *world) lastMail() string {
	w.t.Helper()
	all := w.mails()
	if len(all) != 1 {
		w.t.Fatalf("%d mails", len(all))
	}
	if err := os.RemoveAll(filepath.Join(w.o.Dir, mailName)); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.o.Dir, mailName), 0o700); err != nil {
		w.t.Fatal(err)
	}
	return all[0]
}

var linkPattern = regexp.MustCompile(`https?://[a-zA-Z0-9.:/%]+?(/users/[a-z0-9_-]+/[A-Za-z0-9_=-]{44})`)

// linksIn returns the paths of the links in the text of a mail.
func linksIn(mail string) (paths []string) {
	text, _, _ := strings.Cut(mail, "text/html")
	for _, m := range linkPattern.FindAllStringSubmatch(text, -1) {
		paths = append(paths, m[1])
	}
	return paths
}

// answer looks a name up and verifies what comes.
func (w *world) answer(name string) (keydir.Answer, keydir.Keys) {
	w.t.Helper()
	rec := w.ask("GET", "/users/"+name, "")
	a, k, err := keydir.ParseAnswer(rec.Body.Bytes(), w.d.PublicKey(), name, w.clock.now())
	if rec.Code != 200 || err != nil {
		w.t.Fatalf("look-up of %s: %d %q, %v", name, rec.Code, rec.Body, err)
	}
	return a, k
}

// rotation is the body of POST /users/U/keys.
func (w *world) rotation(name string, version int64, to pair, old *rsa.PrivateKey) string {
	w.t.Helper()
	proof, err := keydir.Prove(w.d.PublicKey(), name, "", to.keys(), to.message, to.sign, w.clock.now())
	if err != nil {
		w.t.Fatal(err)
	}
	sig, err := rsakey.Sign(old, keydir.RotationStatement(name, version, to.keys()))
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := json.Marshal(keydir.Rotation{
		MessageKey: string(rsakey.EncodePublic(to.keys().Message)), SignKey: string(rsakey.EncodePublic(to.keys().Sign)),
		Version: version, Old: rsakey.EncodeBase64(sig), Proof: proof,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// logged returns the entries of the log, each checked to follow the one before.
func (w *world) logged() (all []keydir.Entry, head keydir.Head) {
	w.t.Helper()
	for {
		rec := w.ask("GET", fmt.Sprintf("/log?from=%d", head.Size+1), "")
		if rec.Code != 200 {
			w.t.Fatalf("/log: %d %s", rec.Code, rec.Body)
		}
		if rec.Body.Len() == 0 {
			return all, head
		}
		for line := range strings.Lines(rec.Body.String()) {
			h, e, err := head.Extend([]byte(strings.TrimSuffix(line, "\n")))
			if err != nil {
				w.t.Fatal(err)
			}
			head, all = h, append(all, e)
		}
	}
}
