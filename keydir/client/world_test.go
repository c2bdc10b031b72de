package client_test

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vectors are the provider's part of the vectors: what the original said.
type vectors struct {
	Users map[string]struct {
		Message, Sign struct {
			Private string `json:"private_pem"`
			Public  string `json:"public_pem"`
		}
	}
	Provider struct {
		ServerKey struct {
			Private string `json:"private_pem"`
			Public  string `json:"public_pem"`
		} `json:"server_key"`
		Responses []struct {
			Username, Body string
			Status         int
		}
		Other []struct {
			ID       string
			AskedFor string `json:"asked_for"`
			Body     string
			Status   int
			Safe     string
		} `json:"other_responses"`
	}
}

var world = sync.OnceValue(func() (v vectors) {
	b, err := os.ReadFile("testdata/nes.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		panic(err)
	}
	return v
})

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

var keys sync.Map

func private(pem string) *rsa.PrivateKey {
	if k, ok := keys.Load(pem); ok {
		return k.(*rsa.PrivateKey)
	}
	k, err := rsakey.ParsePrivate([]byte(pem))
	if err != nil {
		panic(err)
	}
	keys.Store(pem, k)
	return k
}

func user(name string) client.Private {
	u := world().Users[name]
	return client.Private{Message: private(u.Message.Private), Sign: private(u.Sign.Private)}
}

func public(t testing.TB, p client.Private) keydir.Keys {
	t.Helper()
	k, err := p.Keys()
	check(t, err)
	return k
}

// A directory is one of our kind, in memory, that can be made to lie.
type directory struct {
	t      testing.TB
	key    *rsa.PrivateKey
	server *httptest.Server

	mu      sync.Mutex
	now     time.Time
	users   map[string]*account
	lines   []string
	head    *keydir.Head // instead of the true one
	noLog   bool
	busy    int               // pages of the log that are refused for now
	drip    int               // entries of a page, if not 0
	before  func(path string) // called before each request
	last    map[string]int64  // versions of names, also of those that are gone
	asked   map[string]int    // requests by path
	gate    chan struct{}     // look-ups wait for it
	mailed  []keydir.Registration
	refuse  string
	entered chan string // users asked for, if not nil
}

type account struct {
	keys     keydir.Keys
	version  int64
	seq      int64
	rotation *keydir.RotationProof
	hash     string // instead of the true one of the entry
}

func newDirectory(t testing.TB) *directory {
	// A user's key: smaller than the vectors' server key, and signing is what takes long.
	d := &directory{t: t, key: private(world().Users["alice"].Sign.Private), now: time.Now(), users: map[string]*account{}, asked: map[string]int{}, last: map[string]int64{}}
	d.server = httptest.NewServer(d)
	t.Cleanup(d.server.Close)
	return d
}

func (d *directory) client(t testing.TB, change ...func(*client.Options)) *client.Client {
	t.Helper()
	o := client.Options{URL: d.server.URL + "/", Key: &d.key.PublicKey, Now: func() time.Time { return d.now }}
	client.AtOnce(&o)
	for _, c := range change {
		c(&o)
	}
	c, err := client.New(o)
	check(t, err)
	t.Cleanup(c.Close)
	return c
}

// put makes an account active, or gives it other keys.
func (d *directory) put(name string, k keydir.Keys, rotation *keydir.RotationProof) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, action := d.users[name], keydir.Rotated
	if a == nil {
		a, action = &account{}, keydir.Published
		d.users[name] = a
	}
	a.keys, a.version, a.rotation = k, d.last[name]+1, rotation
	d.last[name] = a.version
	d.log(keydir.Entry{
		Action: action, Name: keydir.NameHash(name), Version: a.version,
		MessageKey: rsakey.Of(k.Message).Hex(), SignKey: rsakey.Of(k.Sign).Hex(),
	})
	a.seq = int64(len(d.lines))
}

func (d *directory) remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log(keydir.Entry{Action: keydir.Removed, Name: keydir.NameHash(name), Version: d.users[name].version})
	delete(d.users, name)
}

func (d *directory) log(e keydir.Entry) {
	e.Seq, e.Time, e.Prev = int64(len(d.lines)+1), d.now.UnixMilli(), keydir.NoHash
	if n := len(d.lines); n > 0 {
		e.Prev = keydir.Hash([]byte(d.lines[n-1]))
	}
	d.lines = append(d.lines, string(e.Line()))
}

func (d *directory) trueHead() keydir.Head {
	h := keydir.Head{Size: int64(len(d.lines)), Hash: keydir.NoHash, Time: d.now.UnixMilli()}
	if h.Size > 0 {
		h.Hash = keydir.Hash([]byte(d.lines[h.Size-1]))
	}
	return h
}

func (d *directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.asked[r.URL.Path]++
	gate, before := d.gate, d.before
	d.mu.Unlock()
	if before != nil {
		before(r.URL.Path)
	}
	name, isUser := strings.CutPrefix(r.URL.Path, "/users/")
	if d.entered != nil && isUser {
		d.entered <- name
	}
	if gate != nil && isUser {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.refuse != "":
		http.Error(w, d.refuse, http.StatusBadRequest)
	case r.URL.Path == "/key":
		w.Write(rsakey.EncodePublic(&d.key.PublicKey))
	case r.URL.Path == "/users" && r.Method == http.MethodPost:
		d.register(w, r)
	case strings.HasSuffix(name, "/keys") && r.Method == http.MethodPost:
		d.rotate(w, r, strings.TrimSuffix(name, "/keys"))
	case isUser && d.users[name] != nil:
		w.Write(d.answer(name))
	case r.URL.Path == "/log/head" && !d.noLog:
		h := d.trueHead()
		if d.head != nil {
			h = *d.head
		}
		b, _ := h.Sign(d.key)
		w.Write(b)
	case r.URL.Path == "/log" && d.busy > 0:
		d.busy--
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
	case r.URL.Path == "/log" && !d.noLog:
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		page := keydir.PageEntries
		if d.drip > 0 {
			page = d.drip
		}
		for _, l := range d.lines[min(from-1, len(d.lines)):min(from-1+page, len(d.lines))] {
			io.WriteString(w, l+"\n")
		}
	default:
		http.NotFound(w, r)
	}
}

func (d *directory) answer(name string) []byte {
	a := d.users[name]
	hash := a.hash
	if hash == "" {
		hash = keydir.Hash([]byte(d.lines[a.seq-1]))
	}
	b, err := (&keydir.Answer{
		MessageKey: string(rsakey.EncodePublic(a.keys.Message)), SignKey: string(rsakey.EncodePublic(a.keys.Sign)),
		Username: name, Version: a.version, Issued: d.now.UnixMilli(), Expires: d.now.Add(24 * time.Hour).UnixMilli(),
		LogSeq: a.seq, LogHash: hash, Rotation: a.rotation,
	}).Sign(d.key)
	if err != nil {
		panic(err)
	}
	return b
}

func (d *directory) register(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	reg, k, err := keydir.ParseRegistration(b)
	if err == nil && reg.Proof != nil {
		err = reg.Proof.Verify(&d.key.PublicKey, reg.Username, reg.Email, k, d.now)
	}
	if err == nil && d.users[reg.Username] != nil {
		err = keydir.ErrTaken
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mailed = append(d.mailed, reg)
	w.WriteHeader(http.StatusCreated)
}

func (d *directory) rotate(w http.ResponseWriter, r *http.Request, name string) {
	b, _ := io.ReadAll(r.Body)
	rot, k, err := keydir.ParseRotation(b, &d.key.PublicKey, name, d.now)
	a := d.users[name]
	if err == nil && (a == nil || rot.Version != a.version+1) {
		err = errors.New("version")
	}
	if err == nil {
		err = rot.VerifyOld(a.keys.Sign, name, k)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	old := rsakey.Of(a.keys.Sign).Hex()
	d.mu.Unlock()
	d.put(name, k, &keydir.RotationProof{OldSign: old, Signature: rot.Old})
	d.mu.Lock()
	w.Write(d.answer(name))
}

// filler puts entries of nobody in particular into the log.
func (d *directory) filler(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range n {
		fp := keydir.Hash([]byte(fmt.Sprint("filler ", i)))
		d.log(keydir.Entry{Action: keydir.Published, Name: keydir.NameHash(fmt.Sprint("filler-", i)), Version: 1, MessageKey: fp, SignKey: keydir.Hash([]byte(fp))})
	}
}
