package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/internal/term"
	"parley/server"
)

// A testPad is what two devices of the test share: packages that look like the
// original's, whose index counts.
type testPad struct {
	mu   sync.Mutex
	next map[string]uint32 // by sender
	seen map[string]uint32 // by sender: the highest index opened
	used map[string]bool
	refs map[string]int64 // cursors
	deny bool
}

func newTestPad() *testPad {
	return &testPad{next: map[string]uint32{}, seen: map[string]uint32{}, used: map[string]bool{}, refs: map[string]int64{}}
}

// ServeHTTP answers the original's RPC.
func (p *testPad) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var call struct {
		Method string
		Args   []any
	}
	if json.NewDecoder(r.Body).Decode(&call) != nil || r.URL.Path != "/runrpc" {
		http.Error(w, "no", 400)
		return
	}
	var answer any
	text := func(i int) string { s, _ := call.Args[i].(string); return s }
	fail := func(s string) map[string]any { return map[string]any{"success": false, "error": s} }
	switch call.Method {
	case "get_next_ref":
		if n, ok := p.refs[text(0)+text(1)]; ok {
			answer = n
		}
	case "save_next_ref":
		n, _ := call.Args[2].(float64)
		p.refs[text(0)+text(1)] = int64(n)
	case "package":
		from, to, m := text(0), text(1), text(2)
		if to != "alice" && to != "bob" {
			answer = fail("Shared pad not found.")
			break
		}
		if p.deny {
			answer = fail("User rejected pad read request.")
			break
		}
		b := binary.LittleEndian.AppendUint32(nil, p.next[from])
		p.next[from]++
		b = append(append(b, 0, 0), make([]byte, 32)...)
		for _, c := range []byte(m) {
			b = append(b, c^0x5a)
		}
		answer = map[string]any{"success": true, "package": base64.StdEncoding.EncodeToString(b)}
	case "unpackage":
		from, pack := text(0), text(2)
		b, err := base64.StdEncoding.DecodeString(pack)
		if err != nil || len(b) < 38 {
			json.NewEncoder(w).Encode(map[string]any{"error": "rpc call threw an exception"})
			return
		}
		if p.deny {
			answer = fail("User rejected pad read request.")
			break
		}
		index := binary.LittleEndian.Uint32(b)
		if p.used[from+string(b[:6])] {
			f := fail("Decryption failed.")
			f["reuse_detected"], f["skip_detected"] = true, false
			answer = f
			break
		}
		p.used[from+string(b[:6])] = true
		skip := index > p.seen[from]
		p.seen[from] = max(p.seen[from], index+1)
		m := b[38:]
		for i := range m {
			m[i] ^= 0x5a
		}
		answer = map[string]any{"success": true, "message": string(m), "skip_detected": skip, "reuse_detected": false}
	}
	json.NewEncoder(w).Encode(map[string]any{"return": answer})
}

func TestOTCScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	program := build(t.TempDir())
	testscript.Run(t, testscript.Params{
		Dir: "testdata/otc",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits,
			// otccmp GOT WANT: what was printed ends like that.
			"otccmp": func(ts *testscript.TestScript, _ bool, args []string) {
				if got, want := ts.ReadFile(args[0]), ts.ReadFile(args[1]); !strings.HasSuffix(got, want) {
					ts.Fatalf("got\n%s\nwant at its end\n%s", got, want)
				}
			},
			"otcrelay": func(ts *testscript.TestScript, _ bool, args []string) {
				r := &relay{program: program}
				ts.Check(r.startOTC(ts.MkAbs("relay")))
				ts.Defer(func() { r.stop(syscall.SIGKILL) })
				ts.Setenv(args[0], strings.TrimPrefix(r.addr, "otc://"))
			},
			"otcdevices": func(ts *testscript.TestScript, _ bool, args []string) {
				pad := newTestPad()
				for _, name := range args {
					s := httptest.NewServer(pad)
					ts.Defer(s.Close)
					ts.Setenv(name, s.Listener.Addr().String())
				}
			},
		},
	})
}

// steps is an input whose lines come one by one; a func is called when its turn comes.
type steps []any

func (s *steps) Read(b []byte) (int, error) {
	for len(*s) > 0 {
		step := (*s)[0]
		*s = (*s)[1:]
		switch x := step.(type) {
		case string:
			n := copy(b, x+"\n")
			if n <= len(x) { // the rest next time
				*s = append(steps{x[n:]}, *s...)
			}
			return n, nil
		case func():
			x()
		}
	}
	return 0, io.EOF
}

// An otcWorld is a relay behind a proxy that can fail, and a device.
type otcWorld struct {
	t            *testing.T
	relay        string
	device       *testPad
	deviceURL    string
	state        string
	mu           sync.Mutex
	down         bool // the relay gets messages, and its answers are lost
	unreachable  bool
	sends        int
	colour, json bool
	tty          bool
}

func newOTCWorld(t *testing.T) *otcWorld {
	t.Helper()
	s, err := server.Start(server.Config{Data: t.TempDir(), OTC: "127.0.0.1:0", Mischief: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &otcWorld{t: t, device: newTestPad(), state: t.TempDir()}
	to, _ := url.Parse("http" + strings.TrimPrefix(s.Addresses()[0], "otc"))
	proxy := httputil.NewSingleHostReverseProxy(to)
	transport := &http.Transport{}
	proxy.Transport = transport
	front := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		down, unreachable := w.down, w.unreachable
		if r.Method == "POST" {
			w.sends++
		}
		w.mu.Unlock()
		if unreachable {
			panic(http.ErrAbortHandler)
		}
		if down {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(out, r)
	}))
	device := httptest.NewServer(w.device)
	t.Cleanup(func() {
		front.Close()
		device.Close()
		transport.CloseIdleConnections()
		s.Shutdown(context.Background())
	})
	w.relay, w.deviceURL = front.URL, device.URL
	return w
}

func (w *otcWorld) set(down, unreachable bool) func() {
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.down, w.unreachable = down, unreachable
	}
}

func (w *otcWorld) mischief(kind string) func() {
	return func() {
		c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		defer c.CloseIdleConnections()
		r, err := c.PostForm(w.relay+"/mischief", url.Values{"kind": {kind}, "userid": {"bob"}})
		if err != nil || r.StatusCode != 302 {
			w.t.Fatal(r, err)
		}
		r.Body.Close()
	}
}

func (w *otcWorld) run(user string, in ...any) (string, error) {
	w.t.Helper()
	var out bytes.Buffer
	s := steps(in)
	a := &app{exited: -1, in: bufio.NewReaderSize(&s, 1<<16), out: &out, err: io.Discard, colour: w.colour, json: w.json, inTTY: w.tty}
	c := otcCmd{Relay: w.relay, Device: w.deviceURL, User: user, State: w.state}
	err := c.Run(w.t.Context(), a)
	return out.String(), err
}

func (w *otcWorld) kept() int {
	all, err := filepath.Glob(filepath.Join(w.state, "*", "*"+otcSuffix))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(all)
}

// A relay that cannot be reached costs no pad: the package is kept, over the end of the
// program too, and sent again as it is. (The original's was gone.)
func TestDefect4FailedSendsBurnPad(t *testing.T) {
	w := newOTCWorld(t)
	out, err := w.run("alice", w.set(false, true), "send bob one", "send bob two", "send bob three", "quit")
	if !errors.Is(err, errQueued) || exitCode(err) != exitQueued {
		t.Errorf("%v", err)
	}
	if strings.Contains(out, "Message sent") || !strings.Contains(out, "its pad is not lost") || !strings.Contains(out, "NOT SENT YET") || w.kept() != 3 {
		t.Errorf("%d kept\n%s", w.kept(), out)
	}
	w.set(false, false)()
	if st, err := os.Stat(filepath.Join(w.state)); err != nil || !st.IsDir() {
		t.Fatal(err)
	}
	out, err = w.run("alice", "quit")
	if err != nil || strings.Count(out, "Message sent.") != 3 || w.kept() != 0 {
		t.Errorf("%v, %d kept\n%s", err, w.kept(), out)
	}
	out, err = w.run("bob", "")
	if err != nil || !strings.Contains(out, "alice: one\nalice: two\nalice: three\n") || strings.Contains(out, "WARNING") {
		t.Errorf("%v\n%s", err, out)
	}
	if n := w.device.next["alice"]; n != 3 {
		t.Errorf("%d packages were made", n)
	}
}

// An answer that got lost makes no second message.
func TestOTCLostAnswer(t *testing.T) {
	w := newOTCWorld(t)
	out, err := w.run("alice", w.set(true, false), "send bob once", w.set(false, false), "", "quit")
	if err != nil || strings.Count(out, "Message sent.") != 1 || w.kept() != 0 {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = w.run("bob", "", "")
	if err != nil || strings.Count(out, "alice: once") != 1 || strings.Contains(out, "WARNING") {
		t.Errorf("%v\n%s", err, out)
	}
}

// What a relay does that cannot be trusted is shown as loudly as can be.
func TestOTCWarnings(t *testing.T) {
	w := newOTCWorld(t)
	out, err := w.run("alice", "send bob one", "send bob two", w.mischief("drop"), "send bob three", w.mischief("replay"), "quit")
	if err != nil {
		t.Fatal(err, out)
	}
	out, err = w.run("bob", "")
	if err != nil {
		t.Fatal(err)
	}
	skip, three, reuse := strings.Index(out, "WARNING: PAD SKIPPED"), strings.Index(out, "alice: three"), strings.Index(out, "WARNING: PAD REUSED")
	if skip < strings.Index(out, "alice: one") || three < skip || reuse < three || strings.Count(out, "alice: three") != 1 || strings.Contains(out, "\x1b") {
		t.Errorf("%d %d %d\n%s", skip, three, reuse, out)
	}
	w.colour = true
	w.run("alice", "send bob four", w.mischief("replay"), "quit")
	out, _ = w.run("bob", "")
	if !strings.Contains(out, "\x1b[1;97;41m║ WARNING: PAD REUSED") {
		t.Errorf("%q", out)
	}
	for l := range strings.Lines(otcWarning("PAD REUSED", strings.Repeat("word \x1b[2Jword ", 30), true)) {
		if l = term.Text(strings.TrimRight(l, "\n")); len([]rune(l)) != otcWidth {
			t.Errorf("%d characters: %s", len([]rune(l)), l)
		}
	}
}

// Who says no on the device uses no pad, and the message stays; it can be passed over.
// What cannot be opened blocks nothing.
func TestOTCDenied(t *testing.T) {
	w := newOTCWorld(t)
	deny := func(yes bool) func() {
		return func() { w.device.mu.Lock(); w.device.deny = yes; w.device.mu.Unlock() }
	}
	junk := func() {
		r, err := http.PostForm(w.relay+"/send", url.Values{"recipient_uid": {"bob"}, "sender_uid": {"mallory\u202e"}, "contents": {"junk"}})
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		http.DefaultClient.CloseIdleConnections()
	}
	out, err := w.run("alice", deny(true), "send bob no", deny(false), "send bob yes", junk, "send bob last", "quit")
	if exitCode(err) != exitFailed || !strings.Contains(out, "Failed to send message to bob: User rejected") || strings.Count(out, "Message sent.") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = w.run("bob", deny(true), "", deny(false), "", "quit")
	if err != nil || !strings.Contains(out, "Not opened") || !strings.Contains(out, "Cursor: 0\nalice: yes\n") || !strings.Contains(out, "alice: last\n") {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(out, "Failed to decode message from 'mallory‹U+202E›'") || strings.Contains(out, "\u202e") {
		t.Errorf("%s", out)
	}
	w.run("alice", "send bob passed over", "quit")
	out, err = w.run("bob", deny(true), "", "skip", deny(false), "", "quit")
	if err != nil || strings.Contains(out, "alice: passed over") || !strings.Contains(out, "Passed over a message from 'alice'") {
		t.Errorf("%v\n%s", err, out)
	}
}
