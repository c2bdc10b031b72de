package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/paddevice"
	"parley/paddevice/client"
	"parley/secure/otp"
)

// screen is the device's terminal as a test sees it.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A world is a device in this process, on real files.
type world struct {
	t          testing.TB
	dir, marks string
	out        *screen
	s          *Server
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(), marks: t.TempDir(), out: &screen{}}
	check(t, os.Chmod(w.dir, 0o700))
	return w
}

func randomBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func (w *world) file(name string, b []byte) {
	w.t.Helper()
	check(w.t, os.WriteFile(filepath.Join(w.dir, name), b, 0o600))
}

// v1 puts one end of a pad of version 1 into the folder.
func (w *world) v1(self, peer string, pad []byte, first bool) {
	w.file(otp.StoreNameV1(self, peer), pad)
	w.file(otp.MetadataNameV1(self, peer), otp.NewMetadataV1(self, peer, int64(len(pad)), "random", first).Marshal())
}

// v2 does the same with version 2; the folder may hold both ends.
func (w *world) v2(self, peer string, pad []byte, owner int) {
	names := [2]string{self, peer}
	if owner == 1 {
		names = [2]string{peer, self}
	}
	h, err := (&otp.PadHeader{
		ID: [8]byte{7, 7, 7}, Size: int64(len(pad)), Split: int64(len(pad) / 2), Names: names, Owner: owner,
		Created: time.Unix(1700000000, 0), Sources: []otp.Source{{Kind: "urandom"}},
	}).Marshal()
	check(w.t, err)
	w.file(self+"."+peer+".pad", append(h, pad...))
}

// start starts the device; what of o is not set is set.
func (w *world) start(o Options) *Server {
	w.t.Helper()
	o.Dir, o.Marks, o.Out = w.dir, w.marks, w.out
	if o.Listen == "" && o.Paired == "" {
		o.Listen = "127.0.0.1:0"
	}
	s, err := Start(o)
	check(w.t, err)
	w.s = s
	var once sync.Once
	w.t.Cleanup(func() { once.Do(func() { w.stop() }) })
	return s
}

func (w *world) stop() {
	if w.s != nil {
		if err := w.s.Shutdown(context.Background()); err != nil {
			w.t.Error(err)
		}
		w.s = nil
	}
}

// address returns the address of a kind, "http://" or "parley-pad://".
func (w *world) address(kind string) string {
	for _, a := range w.s.Addresses {
		if rest, ok := strings.CutPrefix(a, kind); ok {
			return rest
		}
	}
	w.t.Fatalf("no %s among %q", kind, w.s.Addresses)
	return ""
}

// post sends a body to the RPC.
func (w *world) post(body string) (int, string) {
	w.t.Helper()
	resp, err := http.Post("http://"+w.address("http://")+paddevice.PathRPC, "application/json", strings.NewReader(body))
	check(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(w.t, err)
	return resp.StatusCode, string(b)
}

func (w *world) call(method string, args ...any) string {
	w.t.Helper()
	b, err := json.Marshal(map[string]any{"method": method, "args": args, "kwargs": map[string]any{}})
	check(w.t, err)
	code, text := w.post(string(b))
	if code != 200 {
		w.t.Fatalf("%s: %d %s", method, code, text)
	}
	return text
}

// paired pairs a client of self's and returns it.
func (w *world) paired(name, self string) *client.Client {
	w.t.Helper()
	code, err := NewCode(w.t.Context(), w.dir, "")
	check(w.t, err)
	path, err := client.Pair(w.t.Context(), code.String(), name, w.t.TempDir())
	check(w.t, err)
	c, err := client.Open(path, parley.Name(self))
	check(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	return c
}

// answer waits for a question and answers it.
func (w *world) answer(yes bool) Asked {
	w.t.Helper()
	a := w.question()
	check(w.t, w.s.dev.confirm.Answer(a.Number, yes))
	return a
}

func (w *world) question() Asked {
	w.t.Helper()
	late := time.After(20 * time.Second)
	for {
		a, _, changed := w.s.dev.confirm.Shown()
		if a != nil {
			return *a
		}
		select {
		case <-changed:
		case <-late:
			w.t.Fatal("nobody is asked")
		}
	}
}

// object is JSON in one form, without the members that are named.
func object(t testing.TB, text string, but ...string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if m, ok := v.(map[string]any); ok {
		for _, name := range but {
			delete(m, name)
		}
	}
	b, err := json.Marshal(v)
	check(t, err)
	return string(b)
}

func (w *world) read(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name))
	check(w.t, err)
	return string(b)
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// kinds lists the kinds in the log, which must be whole.
func (w *world) kinds() (all []string) {
	w.t.Helper()
	w.s.dev.log.Sync()
	check(w.t, ReadLog(w.dir, w.marks, func(e *Entry) { all = append(all, e.Kind) }))
	return all
}
