package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"parley/messenger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hello = `{"jsonrpc":"2.0","id":1,"method":"hello","params":{"version":2,"pid":7}}`

// talk sends lines to a server over a pipe and returns its answers until it
// hangs up or everything was answered.
func talk(t *testing.T, f *fake, answers int, lines ...string) []frame {
	t.Helper()
	s := NewServer(f, "/p", nil)
	a, b := net.Pipe()
	var done sync.WaitGroup
	done.Go(func() { s.ServeConn(a) })
	done.Go(func() {
		for _, l := range lines {
			if _, err := io.WriteString(b, l+"\n"); err != nil {
				return
			}
		}
	})
	var got []frame
	in := bufio.NewReader(b)
	for range answers {
		l, err := in.ReadBytes('\n')
		if err != nil {
			break
		}
		var fr frame
		if err := json.Unmarshal(l, &fr); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		got = append(got, fr)
	}
	b.Close()
	done.Wait()
	return got
}

func TestWireErrors(t *testing.T) {
	for name, c := range map[string]struct {
		line string
		code int
		null bool // the answer has no ID, and the connection ends
	}{
		"not JSON":          {`hello`, codeParse, true},
		"a batch":           {`[]`, codeParse, true},
		"version 1":         {`{"id":2,"method":"status"}`, codeParse, true},
		"unknown field":     {`{"jsonrpc":"2.0","id":2,"method":"status","x":1}`, codeParse, true},
		"two on a line":     {`{"jsonrpc":"2.0","id":2,"method":"status"}{}`, codeParse, true},
		"text ID":           {`{"jsonrpc":"2.0","id":"a","method":"status"}`, codeParse, true},
		"both":              {`{"jsonrpc":"2.0","id":2,"method":"status","result":1}`, codeParse, true},
		"neither":           {`{"jsonrpc":"2.0","id":2}`, codeParse, true},
		"too long":          {strings.Repeat(" ", MaxLine+1), codeRequest, true},
		"no such method":    {`{"jsonrpc":"2.0","id":2,"method":"shutdown"}`, codeMethod, false},
		"hello again":       {`{"jsonrpc":"2.0","id":2,"method":"hello"}`, codeMethod, false},
		"wrong parameters":  {`{"jsonrpc":"2.0","id":2,"method":"send","params":{"contact":1}}`, codeParams, false},
		"strange parameter": {`{"jsonrpc":"2.0","id":2,"method":"send","params":{"to":"x"}}`, codeParams, false},
		"list parameters":   {`{"jsonrpc":"2.0","id":2,"method":"send","params":["x","y"]}`, codeParams, false},
		"API error":         {`{"jsonrpc":"2.0","id":2,"method":"contact","params":{"contact":"x"}}`, codeAPI, false},
	} {
		got := talk(t, newFake(), 2, hello, "", c.line)
		if len(got) != 2 || got[1].Error == nil || got[1].Error.Code != c.code || (got[1].ID == nil) != c.null {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestHelloComesFirst(t *testing.T) {
	for name, line := range map[string]string{
		"other method":  `{"jsonrpc":"2.0","id":1,"method":"status"}`,
		"other version": `{"jsonrpc":"2.0","id":1,"method":"hello","params":{"version":3,"pid":1}}`,
		"no version":    `{"jsonrpc":"2.0","id":1,"method":"hello"}`,
	} {
		got := talk(t, newFake(), 3, line, `{"jsonrpc":"2.0","id":2,"method":"status"}`)
		if len(got) != 1 || got[0].Error == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRequestLimits(t *testing.T) {
	f := newFake()
	f.held = make(chan struct{})
	lines := []string{hello}
	for i := range MaxRequests + 1 {
		lines = append(lines, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"invite"}`, i+2))
	}
	if got := talk(t, f, 2, lines...); len(got) != 2 || got[1].Error == nil || *got[1].ID != MaxRequests+2 {
		t.Errorf("one request too many: %+v", got)
	}
	twice := `{"jsonrpc":"2.0","id":2,"method":"invite"}`
	if got := talk(t, f, 2, hello, twice, twice); len(got) != 2 || got[1].Error == nil || got[1].Error.Code != codeRequest {
		t.Errorf("the same ID twice: %+v", got)
	}
}

func TestSilentClientIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(newFake(), "", nil)
		a, b := net.Pipe()
		go s.ServeConn(a)
		start := time.Now()
		if _, err := b.Read(make([]byte, 1)); err == nil || time.Since(start) != helloTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestSilentOwnerIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go io.Copy(io.Discard, a)
		ctx, cancel := context.WithTimeout(t.Context(), helloTimeout)
		defer cancel()
		if _, err := NewClient(ctx, b, nil); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%v", err)
		}
		a.Close()
	})
}

func TestShowThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add("bob")
		m := f.deliver("bob", "x")
		_, c := attach(t, f)
		hang := make(chan struct{})
		ended := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ended <- c.Listen(ctx, "", func(messenger.Message) error { <-hang; return nil })
		}()
		<-time.After(2 * showTimeout) // fake time
		cancel()
		close(hang)
		if err := <-ended; err == nil {
			t.Error("listen ended without an error")
		}
		if m, _ := f.Message(t.Context(), m.ID); m.State != messenger.Received {
			t.Errorf("a message that was not shown is %s", m.State)
		}
	})
}

func TestWatcherThatDoesNotKeepUp(t *testing.T) {
	f := newFake()
	f.add("bob")
	_, c := attach(t, f)
	first, err := make(chan struct{}), make(chan error, 1)
	go func() {
		err <- c.Watch(t.Context(), func(messenger.Change) error {
			close(first)
			<-c.Ended() // never reads again while connected
			return errors.New("not reached in time")
		})
	}()
	go func() {
		for i := 0; t.Context().Err() == nil && i < 5*backlog; {
			f.mu.Lock()
			watched := len(f.watchers) > 0
			f.mu.Unlock()
			if watched {
				f.deliver("bob", "x")
				i++
			}
		}
	}()
	<-first
	// The messenger and other requests go on meanwhile.
	for range 100 {
		if _, err := c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	<-err
}

func TestSeveralClients(t *testing.T) {
	f := newFake()
	f.add("bob")
	s, _ := attach(t, f)
	const clients, each = 8, 50
	var all sync.WaitGroup
	for range clients {
		c := join(t, s)
		all.Go(func() {
			for i := range each {
				if _, err := c.Send(t.Context(), "bob", fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				if _, err := c.History(t.Context(), "bob", 10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if h, _ := f.History(t.Context(), "bob", 0); len(h) != clients*each {
		t.Errorf("%d messages, want %d", len(h), clients*each)
	}
}

func TestShutdown(t *testing.T) {
	f := newFake()
	f.held = make(chan struct{})
	s, c := attach(t, f)
	begun, waiting := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Invite(t.Context(), messenger.InviteOptions{})
		begun <- err
	}()
	go func() { waiting <- c.Listen(t.Context(), "", func(messenger.Message) error { return nil }) }()
	running(s, 2)
	down := make(chan struct{})
	go func() {
		s.Shutdown(t.Context())
		close(down)
	}()
	if err := <-waiting; !errors.Is(err, ErrClosing) {
		t.Errorf("what only waits: %v", err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrClosing) {
		t.Errorf("a new request: %v", err)
	}
	close(f.held)
	if err := <-begun; err != nil {
		t.Errorf("what was begun: %v", err)
	}
	<-down
	<-c.Ended()
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrClosing) {
		t.Errorf("after the end: %v", err)
	}
	if f.closed {
		t.Error("the server closed the messenger")
	}
}

// running returns when n requests are under way.
func running(s *Server, n int) {
	for {
		have := 0
		s.mu.Lock()
		for p := range s.peers {
			p.mu.Lock()
			have += len(p.running)
			p.mu.Unlock()
		}
		s.mu.Unlock()
		if have == n {
			return
		}
	}
}

func TestShutdownGrace(t *testing.T) {
	f := newFake()
	f.held = make(chan struct{}) // never
	s, c := attach(t, f)
	begun := make(chan error, 1)
	go func() {
		_, err := c.Invite(t.Context(), messenger.InviteOptions{})
		begun <- err
	}()
	running(s, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(ctx)
	if err := <-begun; err == nil || errors.Is(err, ErrClosing) {
		t.Errorf("what was cut off: %v; it must not say that it was not begun", err)
	}
}

func TestOwnerDies(t *testing.T) {
	f := newFake()
	f.held = make(chan struct{})
	defer close(f.held)
	s := NewServer(f, "", nil)
	a, b := net.Pipe()
	go s.ServeConn(a)
	c, err := NewClient(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begun := make(chan error, 1)
	go func() {
		_, err := c.Invite(t.Context(), messenger.InviteOptions{})
		begun <- err
	}()
	running(s, 1)
	a.Close()
	if err := <-begun; !errors.Is(err, ErrGone) || errors.Is(err, ErrClosing) {
		t.Errorf("%v", err)
	}
}

func TestSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sock")
	if _, err := Dial(t.Context(), path, nil); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("dial nothing: %v", err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if _, err := Dial(t.Context(), path, nil); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("dial a stale socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	s := NewServer(newFake(), "/the/profile", nil)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	c, err := Dial(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o := c.Owner(); o.PID != os.Getpid() || o.Profile != "/the/profile" {
		t.Errorf("owner: %+v", o)
	}
	s.Shutdown(t.Context())
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stayed: %v", err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 110))); err == nil {
		t.Error("a path that is too long was taken")
	}
}

func FuzzServer(f *testing.F) {
	f.Add([]byte(hello + "\n" + `{"jsonrpc":"2.0","id":2,"method":"listen","params":{"contact":""}}` + "\n" +
		`{"jsonrpc":"2.0","id":1,"result":true}` + "\n" + `{"jsonrpc":"2.0","method":"cancel","params":{"stream":2}}` + "\n"))
	f.Add([]byte(hello + "\n" + `{"jsonrpc":"2.0","id":3,"method":"watch"}` + "\n" + `{"jsonrpc":"2.0","id":4,"method":"history","params":{"contact":"bob","limit":1}}` + "\n"))
	f.Add([]byte(hello + "\n{\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		api := newFake()
		api.add("bob")
		api.deliver("bob", "x")
		s := NewServer(api, "", nil)
		a, b := net.Pipe()
		var done sync.WaitGroup
		done.Go(func() { s.ServeConn(a) })
		var out bytes.Buffer
		done.Go(func() { io.Copy(&out, b) })
		b.Write(in)
		b.Close()
		done.Wait()
		for _, l := range bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n")) {
			if len(l) > 0 && !json.Valid(l) {
				t.Fatalf("answered %q", l)
			}
		}
		if api.closed {
			t.Fatal("a client closed the messenger")
		}
	})
}

func FuzzClient(f *testing.F) {
	ok := `{"jsonrpc":"2.0","id":1,"result":{"version":2,"pid":1}}` + "\n"
	f.Add([]byte(ok + `{"jsonrpc":"2.0","id":1,"method":"show","params":{"stream":2,"value":{"id":"x"}}}` + "\n"))
	f.Add([]byte(ok + `{"jsonrpc":"2.0","method":"bye"}` + "\n"))
	f.Add([]byte(ok + `{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"x","data":["state"]}}` + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		var done sync.WaitGroup
		done.Go(func() { io.Copy(io.Discard, a) })
		done.Go(func() { a.Write(in); a.Close() })
		if c, err := NewClient(t.Context(), b, nil); err == nil {
			c.Listen(t.Context(), "", func(messenger.Message) error { return nil })
			c.History(t.Context(), "x", 0)
			c.Close()
		}
		done.Wait()
	})
}
