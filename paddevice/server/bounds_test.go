package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley"
	"parley/paddevice"
	"parley/padstore"
	"parley/secure/otp"
)

// TestOpenToOthers: a folder or a file that others can write to is not served from.
func TestOpenToOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no file modes")
	}
	w := newWorld(t)
	o := Options{Dir: w.dir, Marks: w.marks, Listen: "127.0.0.1:0", Paired: "127.0.0.1:0"}
	w.start(o)
	w.paired("laptop", "alice")
	w.call("get_next_ref", "alice", "s")
	l := w.s.dev.log
	check(t, Allow(t.Context(), l, Rule{Self: "alice", Peer: "bob", Op: OpPackage}))
	check(t, saveNextRef(t.Context(), w.dir, "alice", "s", 1))
	w.stop()
	all := []string{w.dir, w.marks}
	for _, name := range files {
		all = append(all, filepath.Join(w.dir, name))
	}
	for _, path := range all {
		st, err := os.Stat(path)
		check(t, err)
		for _, more := range []os.FileMode{0o020, 0o002} {
			check(t, os.Chmod(path, st.Mode().Perm()|more))
			s, err := Start(o)
			if !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), "chmod") || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", path, err)
			}
			if err == nil {
				s.Shutdown(t.Context())
			}
		}
		check(t, os.Chmod(path, st.Mode().Perm()))
		if os.Geteuid() == 0 { // somebody else's
			check(t, os.Chown(path, 65534, 65534))
			if _, err := Start(o); !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), "belongs to user 65534") {
				t.Errorf("%s: %v", path, err)
			}
			check(t, os.Chown(path, 0, 0))
		}
	}
	// Rules that others could have written are no rules, also while the device runs.
	rules := filepath.Join(w.dir, rulesName)
	q := Question{Op: OpPackage, Self: "alice", Peer: "bob"}
	if yes, err := allowed(w.dir, q); !yes || err != nil {
		t.Error(yes, err)
	}
	check(t, os.Chmod(rules, 0o620))
	if yes, err := allowed(w.dir, q); yes || err == nil {
		t.Error("a rule of others is in force")
	}
}

// TestReadOnly: a folder that cannot be written says so.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if os.Geteuid() == 0 {
		dir = "/sys/kernel" // where root cannot either
	} else {
		check(t, os.Chmod(dir, 0o500))
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no such folder here")
	}
	_, err := Start(Options{Dir: dir, Marks: t.TempDir(), Listen: "127.0.0.1:0"})
	if !errors.Is(err, ErrFolder) || !strings.Contains(err.Error(), "cannot be written") {
		t.Error(err)
	}
}

// stuck is a terminal that takes nothing, as after Ctrl-S.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.release; return len(p), nil }

// TestTerminalStuck: nothing waits for a terminal, neither requests nor the end.
func TestTerminalStuck(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 5000), true)
	out := stuck{make(chan struct{})}
	defer close(out.release)
	s, err := Start(Options{Dir: w.dir, Marks: w.marks, Listen: "127.0.0.1:0", Out: out})
	check(t, err)
	w.s = s
	done := make(chan string)
	for i := range 2 * maxLines {
		s.dev.say("line %d\n", i)
	}
	go func() { done <- w.call("package", "alice", "bob", "x") }()
	w.answer(true)
	if got := <-done; !strings.Contains(got, `"success":true`) {
		t.Error(got)
	}
	begin := time.Now()
	check(t, s.Shutdown(context.Background()))
	if d := time.Since(begin); d > stopTime/2 {
		t.Errorf("after %v", d)
	}
	m, err := otp.ParseMetadataV1([]byte(w.read(otp.MetadataNameV1("alice", "bob"))))
	if err != nil || m.EncryptIndex != otp.UseV1(1) {
		t.Errorf("the metadata is not current: %+v, %v", m, err)
	}
}

// What was not shown is counted, and the question that is open is shown again.
func TestTerminalLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, gate := &screen{}, make(chan struct{})
		term := newTerminal(writer(func(p []byte) (int, error) { <-gate; return out.Write(p) }))
		term.confirm = NewConfirm(time.Hour, term.told)
		go term.confirm.Ask(t.Context(), aQuestion)
		for i := range maxLines + 50 {
			term.say("line %d\n", i)
			synctest.Wait()
		}
		close(gate)
		synctest.Wait()
		a, _, _ := term.confirm.Shown()
		text := out.String()
		if !strings.Contains(text, "line 100\n") || !strings.Contains(text, "49 messages were not shown") || !strings.Contains(text, "Question "+a.Number) {
			t.Error(text[max(0, len(text)-500):])
		}
		term.confirm.Close()
		term.close()
		term.say("after it")
		synctest.Wait()
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// hanging is a folder whose disk does not answer.
type hanging struct {
	fakePads
	release chan struct{}
}

func (h hanging) Close() error { <-h.release; return nil }

// TestStopsAnyway: the device ends in time, whatever hangs.
func TestStopsAnyway(t *testing.T) {
	w := newWorld(t)
	h := hanging{release: make(chan struct{})}
	s, err := Start(Options{Dir: w.dir, Marks: w.marks, Listen: "127.0.0.1:0", Out: w.out, open: func(string, padstore.Options) (Pads, error) { return h, nil }})
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := s.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "could not stop in order") || time.Since(begin) > stopTime {
		t.Error(err, time.Since(begin))
	}
	s.dev.log.Close() // before the folder goes
	close(h.release)
}

// A slow body is one that a test feeds by hand.
type slowBody struct {
	http.ResponseWriter
	late []time.Time // the deadlines
	wait func(n int)
	left int
}

func (s *slowBody) SetReadDeadline(t time.Time) error { s.late = append(s.late, t); return nil }
func (s *slowBody) Close() error                      { return nil }
func (s *slowBody) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), s.left, 16<<10)
	s.left -= n
	s.wait(n)
	if time.Now().After(s.late[len(s.late)-1]) {
		return 0, os.ErrDeadlineExceeded
	}
	return n, nil
}

// TestBodyTime: who sends may be slow, but neither rest nor crawl.
func TestBodyTime(t *testing.T) {
	rested := false
	for name, c := range map[string]struct {
		wait func(n int) time.Duration
		ok   bool
	}{
		"quick":  {func(int) time.Duration { return 0 }, true},
		"slow":   {func(n int) time.Duration { return time.Duration(n) * time.Second / slowest * 9 / 10 }, true},
		"crawls": {func(n int) time.Duration { return time.Duration(n) * time.Second / slowest * 2 }, false},
		"rests once": {func(int) time.Duration {
			if rested {
				return 0
			}
			rested = true
			return restTime + time.Second
		}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &slowBody{ResponseWriter: httptest.NewRecorder(), left: 8 << 20, wait: func(n int) { <-time.After(c.wait(n)) }}
			r := httptest.NewRequest("POST", "/", s)
			r.ContentLength = int64(s.left)
			b, release, err := readBody(s, r, places{make(chan struct{}, 1)})
			if c.ok != (err == nil) || c.ok && (len(b) != 8<<20 || !s.late[len(s.late)-1].IsZero()) {
				t.Errorf("%s: %d bytes, %v", name, len(b), err)
			}
			if err == nil {
				release()
			}
		})
	}
}

// TestPlaces: a stranger has no place for a long body, a client has one, and the RPC has
// one of its own.
func TestPlaces(t *testing.T) {
	w, alice, _ := newPaired(t, Options{AllowAll: true, Listen: "127.0.0.1:0"})
	key, err := paddevice.NewKey()
	check(t, err)
	cfg, err := paddevice.TLSConfig(key, func(paddevice.Fingerprint) error { return nil })
	check(t, err)
	for range 4 {
		c, err := tls.Dial("tcp", w.address("parley-pad://"), cfg)
		check(t, err)
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 300000\r\n\r\n{", paddevice.PathPair)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := alice.Package(ctx, [16]byte{1}, "bob", make([]byte, 90_000)); err != nil {
		t.Error(err)
	}
	// One that has its place holds up itself, and nobody else.
	one, two := [32]byte{1}, [32]byte{2}
	c := &clientPlaces{all: make(chan struct{}, 2), by: map[[32]byte]chan struct{}{}}
	free, err := c.of(one).take(ctx)
	check(t, err)
	ended, stop := context.WithCancel(ctx)
	stop()
	for range 50 {
		if _, err := c.of(one).take(ended); err == nil {
			t.Fatal("one client has two places")
		}
	}
	other, err := c.of(two).take(ctx)
	check(t, err)
	other()
	free()
	free()
	again, err := c.of(one).take(ctx)
	check(t, err)
	again()
	if len(c.all) != 0 || len(c.by[one]) != 0 {
		t.Error("places are lost")
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", maxHeader+1)))
	rec := httptest.NewRecorder()
	if _, _, err := readBody(rec, r, nil); err == nil || rec.Code != http.StatusRequestEntityTooLarge {
		t.Error("a stranger's long body was read", rec.Code)
	}
}

// TestTrouble: what no client is told, the person is, in words.
func TestTrouble(t *testing.T) {
	w := newWorld(t)
	w.v2("alice", "bob", randomBytes(1, 20_000), 0)
	w.start(Options{Paired: "127.0.0.1:0", Listen: "127.0.0.1:0", AllowAll: true})
	c := w.paired("laptop", "alice")
	path := filepath.Join(w.dir, "alice.bob.pad")
	check(t, os.Chmod(path, 0o644))
	for range 20 {
		if _, err := c.Package(t.Context(), [16]byte{1}, "bob", nil); !errors.Is(err, parley.ErrOffline) || strings.Contains(err.Error(), w.dir) {
			t.Error(err)
		}
	}
	check(t, os.Chmod(path, 0o600))
	check(t, os.Truncate(path, 5000)) // damaged
	if _, err := c.Status(t.Context(), "bob"); !errors.Is(err, parley.ErrMalformed) || strings.Contains(err.Error(), w.dir) {
		t.Error(err)
	}
	w.call("package", "alice", "bob", "x")
	if _, err := c.Status(t.Context(), "zed"); !errors.Is(err, parley.ErrNoKey) || strings.Contains(err.Error(), w.dir) {
		t.Error(err)
	}
	if _, err := c.Status(t.Context(), parley.Name(strings.Repeat("z", 5000))); !errors.Is(err, parley.ErrNoKey) {
		t.Error(err)
	}
	if k := w.kinds(); !slices.Contains(k, KindFailed) || len(k) > 12 {
		t.Errorf("%v", k)
	}
	w.stop()
	text := w.out.String()
	for _, want := range []string{"chmod 600", "was cut off"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n"); n > 30 {
		t.Errorf("%d lines on the terminal", n)
	}
}

// TestHalfCharacters: a message that is no text is refused before pad is used.
func TestHalfCharacters(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 5000), true)
	w.start(Options{AllowAll: true})
	before := w.read(otp.MetadataNameV1("alice", "bob"))
	for _, s := range []string{`\ud800`, `A\ud83dB`, `\ude00`, `\ude00\ud83d`, `\ud83d\u0041`, `\ud83d\\ude00`, `\uD83D\n`, `x\ud83d`} {
		code, got := w.post(`{"method":"package","args":["alice","bob","` + s + `"],"kwargs":{}}`)
		if code != 200 || object(t, got) != `{"error":"rpc call threw an exception"}` {
			t.Errorf("%s: %d %s", s, code, got)
		}
	}
	for _, s := range []string{"\xff", "caf\xe9", "\xed\xa0\x80"} {
		if code, got := w.post(`{"method":"package","args":["alice","bob","` + s + `"],"kwargs":{}}`); code != 400 {
			t.Errorf("%q: %d %s", s, code, got)
		}
	}
	w.stop()
	if w.read(otp.MetadataNameV1("alice", "bob")) != before {
		t.Error("pad was used")
	}
	w.start(Options{AllowAll: true})
	for s, n := range map[string]int{`\ud83d\ude00`: 4, `\\ud800`: 6, `\ufffd`: 3, `é\u00e9`: 4, `\\\ud83d\ude00`: 5} {
		if code, got := w.post(`{"method":"package","args":["alice","bob","` + s + `"],"kwargs":{}}`); code != 200 || !strings.Contains(got, `"success":true`) {
			t.Errorf("%s (%d): %d %s", s, n, code, got)
		}
	}
}

// TestNextRefBounds: who reaches the RPC cannot fill the file with users that have no pad,
// nor without end.
func TestNextRefBounds(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 500), true)
	w.v1("eve", "bob", randomBytes(1, 500), true)
	w.start(Options{AllowAll: true})
	save := func(uid, server string) bool {
		return object(t, w.call("save_next_ref", uid, server, 7)) == `{"return":null}`
	}
	if save("bob", "s") || save(strings.Repeat("u", 5000), "s") || save("alice", strings.Repeat("s", maxServerName+1)) {
		t.Error("a stranger's name is kept")
	}
	for i := range maxServers {
		if !save("alice", fmt.Sprint("http://relay", i)) {
			t.Fatal(i)
		}
	}
	if save("alice", "one more") || !save("alice", "http://relay3") || !save("eve", "http://relay3") {
		t.Error("bounds are not each user's own")
	}
}

// TestOneTab: a page that is opened again ends the one before.
func TestOneTab(t *testing.T) {
	w := newWorld(t)
	w.start(Options{Page: "127.0.0.1:0"})
	base, secret, _ := strings.Cut(w.s.PageURL, "/#")
	s := stranger{t, base}
	enter := func() []string {
		code, h, token := s.ask("POST", "/enter", `{"secret":"`+secret+`"}`)
		if code != 200 {
			t.Fatal(code)
		}
		cookie, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
		return []string{"Cookie", cookie, "X-Token", strings.Split(token, `"`)[3]}
	}
	state := func(tab []string, after int) int {
		code, _, _ := s.ask("POST", "/state", fmt.Sprintf(`{"after":%d}`, after), tab...)
		return code
	}
	first := enter()
	if code := state(first, -1); code != 200 {
		t.Fatal(code)
	}
	second := enter()
	if a, b := state(first, -1), state(second, -1); a != 403 || b != 200 {
		t.Errorf("%d, %d", a, b)
	}
}

// A tab that waits for a question when another one is opened does not get it.
func TestOneTabWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := OpenLog(t.TempDir(), t.TempDir(), nil, nil)
		check(t, err)
		defer l.Close()
		p := newPage("127.0.0.1:1", NewConfirm(time.Minute, nil), l, t.Context())
		ask := func(path, body string, headers ...string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", "http://127.0.0.1:1"+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			rec := httptest.NewRecorder()
			p.serve(rec, r)
			return rec
		}
		enter := func() []string {
			rec := ask("/enter", `{"secret":"`+p.secret+`"}`)
			cookie, _, _ := strings.Cut(rec.Header().Get("Set-Cookie"), ";")
			return []string{"Cookie", cookie, "X-Token", strings.Split(rec.Body.String(), `"`)[3]}
		}
		first := enter()
		got := make(chan *httptest.ResponseRecorder, 1)
		go func() { got <- ask("/state", `{"after":0}`, first...) }()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("it did not wait")
		}
		second := enter()
		ctx, leave := context.WithCancel(t.Context())
		go p.confirm.Ask(ctx, aQuestion)
		if rec := <-got; rec.Code != 403 || strings.Contains(rec.Body.String(), "alice") {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		if rec := ask("/state", `{"after":-1}`, second...); rec.Code != 200 || !strings.Contains(rec.Body.String(), "alice") {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
		leave()
		synctest.Wait()
	})
}
