package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/internal/keyfile"
	"parley/paddevice"
	"parley/paddevice/client"
	"parley/secure/otp"
)

func newPaired(t testing.TB, o Options) (*world, *client.Client, *client.Client) {
	w := newWorld(t)
	pad := randomBytes(9, 200_000)
	w.v2("alice", "bob", pad, 0)
	w.v2("bob", "alice", pad, 1)
	o.Paired = "127.0.0.1:0"
	w.start(o)
	return w, w.paired("laptop", "alice"), w.paired("desk", "bob")
}

func TestChannel(t *testing.T) {
	w, alice, bob := newPaired(t, Options{AllowAll: true})
	ctx := t.Context()
	long := randomBytes(1, 50_000)
	for i, msg := range [][]byte{nil, []byte("hello"), long} {
		id := [16]byte{byte(i + 1)}
		packet, err := alice.Package(ctx, id, "bob", msg)
		check(t, err)
		again, err := alice.Package(ctx, id, "bob", msg)
		if err != nil || !bytes.Equal(packet, again) {
			t.Error("the same id gives other bytes", err)
		}
		if _, err := alice.Package(ctx, id, "bob", append([]byte("x"), msg...)); !errors.Is(err, parley.ErrRefused) {
			t.Error(err)
		}
		for range 2 {
			o, err := bob.Unpackage(ctx, "alice", packet)
			check(t, err)
			if !bytes.Equal(o.Message, msg) || o.Message == nil || o.Seq != uint64(i+1) || o.Skipped {
				t.Errorf("%d: %+v", i, o.Seq)
			}
		}
		for range 2 {
			check(t, alice.Done(ctx, "bob", otp.Digest(packet)))
			check(t, bob.Done(ctx, "alice", otp.Digest(packet)))
		}
		if _, err := bob.Unpackage(ctx, "alice", packet); !errors.Is(err, parley.ErrSeen) {
			t.Error(err)
		}
	}
	if strings.Contains(w.read(answeredName), "+") && !strings.Contains(w.read(answeredName), "-") {
		t.Error("questions are kept after done")
	}
	before, err := alice.Status(ctx, "bob")
	check(t, err)
	grant, err := alice.Grant(ctx, [16]byte{9}, "bob", 1000)
	check(t, err)
	if o, err := bob.Unpackage(ctx, "alice", grant); err != nil || o.Message != nil {
		t.Error(o, err)
	}
	after, err := alice.Status(ctx, "bob")
	check(t, err)
	if before.Left-after.Left != 1000+otp.Use(16) || after.Self != "alice" || after.Peer != "bob" || after.Version != otp.V2 {
		t.Errorf("%+v, %+v", before, after)
	}
	all, err := alice.Pads(ctx)
	if err != nil || len(all) != 2 {
		t.Error(all, err)
	}
	forged := bytes.Clone(grant)
	forged[40] ^= 1
	for name, c := range map[string]struct {
		do   func() error
		want []error
	}{
		"no pad":   {func() error { _, err := alice.Status(ctx, "zed"); return err }, []error{parley.ErrNoKey}},
		"oneself":  {func() error { _, err := alice.Status(ctx, "alice"); return err }, []error{parley.ErrRefused}},
		"path":     {func() error { _, err := alice.Status(ctx, "../x"); return err }, []error{parley.ErrNoKey}},
		"depleted": {func() error { _, err := alice.Package(ctx, [16]byte{8}, "bob", make([]byte, 150_000)); return err }, []error{parley.ErrRefused, otp.ErrDepleted}},
		"too long": {func() error {
			_, err := alice.Package(ctx, [16]byte{8}, "bob", make([]byte, otp.MaxBody+1))
			return err
		}, []error{parley.ErrRefused}},
		"no id":      {func() error { _, err := alice.Package(ctx, [16]byte{}, "bob", nil); return err }, []error{parley.ErrMalformed}},
		"forged":     {func() error { _, err := bob.Unpackage(ctx, "alice", forged); return err }, []error{parley.ErrSeen, parley.ErrForged}},
		"malformed":  {func() error { _, err := bob.Unpackage(ctx, "alice", []byte("OTC2")); return err }, []error{parley.ErrMalformed}},
		"no grant":   {func() error { _, err := alice.Grant(ctx, [16]byte{8}, "bob", -1); return err }, []error{parley.ErrRefused}},
		"max grant":  {func() error { _, err := alice.Grant(ctx, [16]byte{8}, "bob", 1<<63-1); return err }, []error{parley.ErrRefused}},
		"huge grant": {func() error { _, err := alice.Grant(ctx, [16]byte{8}, "bob", 1<<40); return err }, []error{parley.ErrRefused, otp.ErrDepleted}},
	} {
		err := c.do()
		if !slices.ContainsFunc(c.want, func(want error) bool { return errors.Is(err, want) }) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A question on the paired channel: repeating joins it, denial uses no pad, what was
// allowed is not asked again, not even by a device that was killed meanwhile.
func TestChannelConfirm(t *testing.T) {
	w, alice, _ := newPaired(t, Options{})
	ctx := t.Context()
	type result struct {
		packet []byte
		err    error
	}
	got := make(chan result, 4)
	ask := func(ctx context.Context, id byte) {
		packet, err := alice.Package(ctx, [16]byte{id}, "bob", []byte("hello"))
		got <- result{packet, err}
	}
	before, err := alice.Status(ctx, "bob")
	check(t, err)
	go ask(ctx, 1)
	if q := w.answer(false); q.Client != "laptop" || q.Message != 5 || q.Pad != 96 || q.Question.Left != before.Left-96 {
		t.Errorf("%+v", q)
	}
	if r := <-got; !errors.Is(r.err, parley.ErrDenied) {
		t.Error(r.err)
	}
	// The client goes away: so does the question.
	gone, leave := context.WithCancel(ctx)
	go ask(gone, 1)
	q := w.question()
	leave()
	<-got
	for a, _, changed := w.s.dev.confirm.Shown(); a != nil; a, _, changed = w.s.dev.confirm.Shown() {
		<-changed
	}
	if err := w.s.dev.confirm.Answer(q.Number, true); !errors.Is(err, ErrNumber) {
		t.Error("a question that was withdrawn was answered", err)
	}
	if st, err := alice.Status(ctx, "bob"); err != nil || st.Left != before.Left {
		t.Error("pad was used without a yes", st.Left, err)
	}
	// Two at once with one id are one question.
	go ask(ctx, 1)
	w.question()
	go ask(ctx, 1)
	for n := 0; n < 2; runtime.Gosched() { // until both wait
		f := &w.s.dev.flights
		f.mu.Lock()
		for _, fl := range f.by {
			n = fl.waiting
		}
		f.mu.Unlock()
	}
	if q := w.answer(true); q.More != 0 {
		t.Error("two questions")
	}
	a, b := <-got, <-got
	if a.err != nil || b.err != nil || !bytes.Equal(a.packet, b.packet) {
		t.Fatal(a.err, b.err)
	}
	// The reply was lost, and the device starts anew: the same bytes, and no question.
	w.stop()
	w.start(Options{Paired: strings.TrimPrefix(w.lastPaired(), "parley-pad://")})
	go ask(ctx, 1)
	if r := <-got; r.err != nil || !bytes.Equal(r.packet, a.packet) {
		t.Error(r.err)
	}
	check(t, alice.Done(ctx, "bob", otp.Digest(a.packet)))
	// After done the id is as good as new: it is asked for.
	go ask(ctx, 1)
	w.answer(false)
	if r := <-got; !errors.Is(r.err, parley.ErrDenied) {
		t.Error(r.err)
	}
	if k := w.kinds(); !slices.Contains(k, KindDenied) || !slices.Contains(k, KindPair) {
		t.Error(k)
	}
}

func (w *world) lastPaired() string {
	var p pairing
	check(w.t, readJSON(w.dir, pairingName, &p))
	return p.Address
}

// A reply that is lost costs neither the message nor pad, and a pairing can be repeated.
func TestChannelLostReply(t *testing.T) {
	w := newWorld(t)
	pad := randomBytes(9, 50_000)
	w.v2("alice", "bob", pad, 0)
	w.start(Options{Paired: "127.0.0.1:0", AllowAll: true})
	back := lossy(t, w.address("parley-pad://"))
	code, err := NewCode(t.Context(), w.dir, back.addr)
	check(t, err)
	// The reply of the pairing is lost, too: the same code again finds the client known.
	back.lose(true)
	dir := t.TempDir()
	if _, err := client.Pair(t.Context(), code.String(), "laptop", dir); !errors.Is(err, parley.ErrOffline) {
		t.Fatal(err)
	}
	back.lose(false)
	path, err := client.Pair(t.Context(), code.String(), "laptop", dir)
	check(t, err)
	c, err := client.Open(path, "alice")
	check(t, err)
	defer c.Close()
	st, err := c.Status(t.Context(), "bob")
	check(t, err)
	back.lose(true)
	if _, err := c.Package(t.Context(), [16]byte{1}, "bob", []byte("hello")); !errors.Is(err, parley.ErrOffline) {
		t.Error(err)
	}
	back.lose(false)
	packet, err := c.Package(t.Context(), [16]byte{1}, "bob", []byte("hello"))
	check(t, err)
	again, err := c.Package(t.Context(), [16]byte{1}, "bob", []byte("hello"))
	if err != nil || !bytes.Equal(packet, again) {
		t.Error(err)
	}
	after, err := c.Status(t.Context(), "bob")
	if err != nil || st.Left-after.Left != 96 {
		t.Errorf("%d bytes of pad for one message, %v", st.Left-after.Left, err)
	}
	in, err := otp.Open(packet, pad[:96])
	if err != nil || string(in.Body) != "hello" {
		t.Error(in, err)
	}
	// Burned only after done.
	if file := w.read("alice.bob.pad"); !strings.Contains(file, string(pad[:96])) {
		t.Error("burned before done")
	}
	check(t, c.Done(t.Context(), "bob", otp.Digest(packet)))
	if file := w.read("alice.bob.pad"); strings.Contains(file, string(pad[:32])) {
		t.Error("not burned after done")
	}
}

func TestPairing(t *testing.T) {
	w := newWorld(t)
	w.v2("alice", "bob", randomBytes(9, 50_000), 0)
	w.start(Options{Paired: "127.0.0.1:0", AllowAll: true})
	ctx := t.Context()
	newCode := func() paddevice.Code {
		c, err := NewCode(ctx, w.dir, "")
		check(t, err)
		return c
	}
	pairAs := func(c paddevice.Code, name string) (string, error) {
		return client.Pair(ctx, c.String(), name, t.TempDir())
	}
	code := newCode()
	path, err := pairAs(code, "laptop")
	check(t, err)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	for name, c := range map[string]struct {
		code func() paddevice.Code
		name string
		want error
	}{
		"used":         {func() paddevice.Code { return code }, "again", parley.ErrDenied},
		"replaced":     {func() paddevice.Code { old := newCode(); newCode(); return old }, "again", parley.ErrDenied},
		"name taken":   {newCode, "laptop", parley.ErrDenied},
		"bad name":     {newCode, "a/b", parley.ErrRefused},
		"hidden name":  {newCode, ".x", parley.ErrRefused},
		"other device": {func() paddevice.Code { c := newCode(); c.Device[0] ^= 1; return c }, "x", parley.ErrUntrusted},
		"nobody there": {func() paddevice.Code { c := newCode(); c.Address = "127.0.0.1:1"; return c }, "x", parley.ErrOffline},
	} {
		dir := t.TempDir()
		_, err := client.Pair(ctx, c.code().String(), c.name, dir)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if files, _ := os.ReadDir(dir); errors.Is(err, parley.ErrDenied) && len(files) > 0 {
			t.Errorf("%s: a file is left", name)
		}
	}
	// Guesses withdraw the code.
	code = newCode()
	for range paddevice.MaxAttempts {
		wrong := code
		wrong.Secret[0]++
		if _, err := pairAs(wrong, "guess"); !errors.Is(err, parley.ErrDenied) {
			t.Error(err)
		}
	}
	if _, err := pairAs(code, "late"); !errors.Is(err, parley.ErrDenied) {
		t.Errorf("after %d guesses: %v", paddevice.MaxAttempts, err)
	}
	// A code that is too old.
	code = newCode()
	check(t, changeJSON(ctx, w.dir, pairingName, func(p *pairing) (*Log, *Entry, error) { p.Until = time.Now().Add(-time.Second); return nil, nil, nil }))
	if _, err := pairAs(code, "late"); !errors.Is(err, parley.ErrDenied) {
		t.Error(err)
	}
	// Unpaired, a client gets nothing, on a connection that was open, too.
	c, err := client.Open(path, "alice")
	check(t, err)
	defer c.Close()
	_, err = c.Status(ctx, "bob")
	check(t, err)
	check(t, Unpair(ctx, w.s.dev.log, "laptop"))
	if _, err := c.Status(ctx, "bob"); !errors.Is(err, parley.ErrDenied) {
		t.Error(err)
	}
	if err := Unpair(ctx, w.s.dev.log, "laptop"); !errors.Is(err, ErrNoClient) {
		t.Error(err)
	}
	if k := w.kinds(); !slices.Contains(k, KindClient) || !slices.Contains(k, KindCode) {
		t.Error(k)
	}
	if text := w.read(logName) + w.out.String(); strings.Contains(text, code.String()) {
		t.Error("a pairing code is logged")
	}
}

// Strangers and old TLS get nothing.
func TestChannelStrangers(t *testing.T) {
	w, _, _ := newPaired(t, Options{AllowAll: true})
	addr := w.address("parley-pad://")
	key, err := paddevice.NewKey()
	check(t, err)
	cfg, err := paddevice.TLSConfig(key, func(paddevice.Fingerprint) error { return nil })
	check(t, err)
	get := func(cfg *tls.Config, path, body string) (int, string, error) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		resp, err := c.Post("https://"+addr+path, "application/json", strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	for _, path := range []string{paddevice.PathPackage, paddevice.PathPads, paddevice.PathRPC, "/"} {
		code, text, err := get(cfg, path, `{}`)
		if err != nil || code != 403 || strings.Contains(text, "alice") {
			t.Errorf("%s: %d %s %v", path, code, text, err)
		}
	}
	if code, _, err := get(cfg, paddevice.PathPair, `{"name":"x","secret":"`+strings.Repeat("0", 32)+`","data":"`+strings.Repeat("A", 1<<20)+`"}`); err == nil && code == 200 {
		t.Error("a long request of a stranger was read")
	}
	none := cfg.Clone()
	none.Certificates = nil
	if _, _, err := get(none, paddevice.PathPads, `{}`); err == nil {
		t.Error("without a certificate")
	}
	old := cfg.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, _, err := get(old, paddevice.PathPads, `{}`); err == nil {
		t.Error("TLS 1.2")
	}
	if resp, err := http.Post("http://"+addr+paddevice.PathPads, "application/json", strings.NewReader("{}")); err == nil {
		if resp.StatusCode == 200 {
			t.Error("plain HTTP")
		}
		resp.Body.Close()
	}
}

func TestKeyFiles(t *testing.T) {
	w := newWorld(t)
	a, err := deviceKey(w.dir)
	check(t, err)
	b, err := deviceKey(w.dir)
	if err != nil || !a.Equal(b) {
		t.Error("another key", err)
	}
	check(t, os.Chmod(filepath.Join(w.dir, keyName), 0o644))
	if _, err := deviceKey(w.dir); !errors.Is(err, keyfile.ErrExposed) {
		t.Error(err)
	}
	check(t, os.Remove(filepath.Join(w.dir, keyName)))
	w.file(keyName, []byte("nothing"))
	if _, err := deviceKey(w.dir); !errors.Is(err, keyfile.ErrFormat) {
		t.Error(err)
	}
	if _, err := NewCode(t.Context(), t.TempDir(), ""); !errors.Is(err, ErrNotServing) {
		t.Error(err)
	}
	if _, err := NewCode(t.Context(), t.TempDir(), "nowhere"); !errors.Is(err, parley.ErrRefused) {
		t.Error(err)
	}
	w.file(clientsName, []byte("[{"))
	if _, err := Clients(w.dir); !errors.Is(err, keyfile.ErrFormat) {
		t.Error(err)
	}
	if _, err := client.Pair(t.Context(), paddevice.Code{Address: "127.0.0.1:1"}.String(), "x", filepath.Join(w.dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Many at once, from several clients: every packet has pad of its own.
func TestChannelParallel(t *testing.T) {
	w, alice, _ := newPaired(t, Options{AllowAll: true})
	other := w.paired("third", "alice")
	n := 40
	if testing.Short() {
		n = 10
	}
	var mu sync.Mutex
	used := map[uint64]bool{}
	var running sync.WaitGroup
	for i, c := range []*client.Client{alice, other} {
		for j := range n {
			running.Go(func() {
				packet, err := c.Package(t.Context(), [16]byte{byte(i + 1), byte(j)}, "bob", fmt.Append(nil, i, j))
				if err != nil {
					t.Error(err)
					return
				}
				h, _, err := otp.Parse(packet)
				mu.Lock()
				defer mu.Unlock()
				if err != nil || used[h.Offset] {
					t.Error("offset used twice", h.Offset, err)
				}
				used[h.Offset] = true
			})
		}
	}
	running.Wait()
	if len(used) != 2*n {
		t.Error(len(used))
	}
}

func FuzzChannel(f *testing.F) {
	w := newWorld(f)
	w.v2("alice", "bob", randomBytes(9, 1<<20), 0)
	s, err := Start(Options{Dir: w.dir, Marks: w.marks, Paired: "127.0.0.1:0", AllowAll: true})
	check(f, err)
	f.Cleanup(func() { s.Shutdown(context.Background()) })
	key, err := paddevice.NewKey()
	check(f, err)
	fp, err := paddevice.KeyFingerprint(key)
	check(f, err)
	check(f, add(s.dev.log, "fuzzer", fp))
	cert, err := paddevice.Certificate(key)
	check(f, err)
	state := &tls.ConnectionState{PeerCertificates: parsed(f, cert)}
	for i, path := range []string{paddevice.PathPackage, paddevice.PathUnpackage, paddevice.PathDone, paddevice.PathGrant, paddevice.PathStatus, paddevice.PathPair, paddevice.PathPads} {
		f.Add(path, fmt.Appendf(nil, `{"id":"%032d","self":"alice","peer":"bob","data":"aGk=","n":5}`, i+1))
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		r := httptest.NewRequest("POST", "https://127.0.0.1/", bytes.NewReader(body))
		r.URL.Path, r.TLS = path, state
		rec := httptest.NewRecorder()
		s.dev.channel(rec, r)
		if rec.Code == 500 || rec.Code == 200 && !strings.HasPrefix(rec.Body.String(), "{") {
			t.Fatalf("%s %q: %d %s", path, body, rec.Code, rec.Body)
		}
	})
}
