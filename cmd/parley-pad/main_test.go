package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"parley/paddevice"
	"parley/paddevice/client"
	"parley/padstore"
	"parley/secure/otp"
)

const mainEnv = "PARLEY_PAD_TEST_MAIN"

// TestMain is the program itself where the environment says so.
func TestMain(m *testing.M) {
	if os.Getenv(mainEnv) != "" {
		main()
	}
	os.Exit(m.Run())
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func program(t testing.TB, args ...string) *exec.Cmd {
	exe, err := os.Executable()
	check(t, err)
	c := exec.Command(exe, args...)
	c.Env = append(os.Environ(), mainEnv+"=1")
	return c
}

// command runs a command to its end, in this process.
func command(t testing.TB, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(args, nil, &out, &errs); code != want {
		t.Fatalf("%q: exit code %d, want %d\n%s%s", args, code, want, &out, &errs)
	}
	return out.String(), errs.String()
}

// A serving is a device in a process of its own.
type serving struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines []string // the addresses
	err   *lines
	ended chan struct{}
}

// lines is what a process prints, followed while it does.
type lines struct {
	mu   sync.Mutex
	text string
	more chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(b)
	close(l.more)
	l.more = make(chan struct{})
	return len(b), nil
}

// wait waits for a text behind the first from bytes, and returns all behind it there is.
func (l *lines) wait(t testing.TB, text string, from int) string {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		s, more := l.text, l.more
		l.mu.Unlock()
		if i := strings.Index(s[from:], text); i >= 0 {
			return s[from+i:]
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no %q in %s", text, s)
		}
	}
}

// serve starts a device; n is how many addresses it prints.
func serve(t testing.TB, n int, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, cmd: program(t, append([]string{"serve"}, args...)...), err: &lines{more: make(chan struct{})}, ended: make(chan struct{})}
	out, err := s.cmd.StdoutPipe()
	check(t, err)
	s.in, err = s.cmd.StdinPipe()
	check(t, err)
	s.cmd.Stderr = s.err
	check(t, s.cmd.Start())
	r := bufio.NewReader(out)
	for range n {
		line, err := r.ReadString('\n')
		if err != nil {
			s.cmd.Wait()
			t.Fatalf("%v: %s", err, s.err.text)
		}
		s.lines = append(s.lines, strings.TrimSpace(line))
	}
	go func() { s.cmd.Wait(); close(s.ended) }()
	t.Cleanup(func() { s.cmd.Process.Kill(); <-s.ended })
	return s
}

func (s *serving) end(sig syscall.Signal, code int) {
	s.t.Helper()
	check(s.t, s.cmd.Process.Signal(sig))
	<-s.ended
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("ended with %d: %s", got, s.err.text)
	}
}

func call(t testing.TB, base, method string, args ...any) (text string) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"method": method, "args": args, "kwargs": map[string]any{}})
	check(t, err)
	resp, err := http.Post(base+paddevice.PathRPC, "application/json", bytes.NewReader(b))
	check(t, err)
	defer resp.Body.Close()
	b, err = io.ReadAll(resp.Body)
	check(t, err)
	return strings.TrimSpace(string(b))
}

// object is JSON in one form.
func object(t testing.TB, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	b, _ := json.Marshal(v)
	return string(b)
}

func randomPad(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i>>8 ^ i*7 ^ i>>3)
	}
	return b
}

func v1(t testing.TB, dir, self, peer string, pad []byte, first bool) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(dir, otp.StoreNameV1(self, peer)), pad, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, otp.MetadataNameV1(self, peer)), otp.NewMetadataV1(self, peer, int64(len(pad)), "random", first).Marshal(), 0o600))
}

func v2(t testing.TB, dir string, names [2]string, pad []byte, owner int) {
	t.Helper()
	h, err := (&otp.PadHeader{
		ID: [8]byte{5}, Size: int64(len(pad)), Split: int64(len(pad) / 2), Names: names, Owner: owner,
		Created: time.Unix(1700000000, 0), Sources: []otp.Source{{Kind: "urandom"}},
	}).Marshal()
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, names[owner]+"."+names[1-owner]+".pad"), append(h, pad...), 0o600))
}

// The conversation of the vectors with the program itself: start, RPC, SIGTERM, and the
// metadata is the vector's; a process for every half of it, on the same files.
func TestServeVectors(t *testing.T) {
	b, err := os.ReadFile("../../secure/otp/testdata/vectors.json")
	check(t, err)
	var v struct {
		Device []struct {
			Initial map[string]string `json:"metadata_text_initial"`
			Pad     []byte            `json:"pad_b64"`
			Steps   []struct {
				Device  string          `json:"on_device"`
				Op      string          `json:"op"`
				Src     string          `json:"src_uid"`
				Dst     string          `json:"dst_uid"`
				Message string          `json:"message"`
				Packet  string          `json:"package_b64"`
				After   string          `json:"metadata_text_after"`
				Reply   json.RawMessage `json:"reply"`
			} `json:"steps"`
		} `json:"device_layer"`
	}
	check(t, json.Unmarshal(b, &v))
	sc := v.Device[0]
	dir, marks := t.TempDir(), t.TempDir()
	peers := map[string]string{"alice": "bob", "bob": "alice"}
	for self, meta := range sc.Initial {
		check(t, os.WriteFile(filepath.Join(dir, otp.StoreNameV1(self, peers[self])), sc.Pad, 0o600))
		check(t, os.WriteFile(filepath.Join(dir, otp.MetadataNameV1(self, peers[self])), []byte(meta), 0o600))
	}
	after := map[string]string{}
	half := len(sc.Steps) / 2
	for _, part := range []int{0, half} {
		s := serve(t, 1, "--dir", dir, "--marks", marks, "--listen", "127.0.0.1:0", "--allow-all")
		if !strings.HasPrefix(s.lines[0], "http://127.0.0.1:") || strings.HasSuffix(s.lines[0], ":0") {
			t.Fatal(s.lines)
		}
		s.err.wait(t, "EVERY request is ALLOWED", 0)
		for _, step := range sc.Steps[part:min(part+half, len(sc.Steps))] {
			arg := step.Message
			if step.Op == "unpackage" {
				arg = step.Packet
			}
			if got := call(t, s.lines[0], step.Op, step.Src, step.Dst, arg); object(t, got) != object(t, string(step.Reply)) {
				t.Fatalf("%s, want %s", got, step.Reply)
			}
			after[step.Device] = step.After
		}
		s.end(syscall.SIGTERM, exitOK)
		for self, want := range after {
			got, err := os.ReadFile(filepath.Join(dir, otp.MetadataNameV1(self, peers[self])))
			check(t, err)
			if object(t, string(got)) != object(t, want) {
				t.Fatalf("metadata of %s: %s, want %s", self, got, want)
			}
		}
	}
	command(t, exitOK, "log", "--check", "--dir", dir, "--marks", marks)
}

// TestDefect1: two devices at once on the same files never use the same pad.
func TestDefect1ParallelProcesses(t *testing.T) {
	n := 60
	if testing.Short() {
		n = 15
	}
	dir, marks := t.TempDir(), t.TempDir()
	pad := randomPad(100_000)
	v1(t, dir, "alice", "bob", pad, true)
	var devices []*serving
	for range 2 {
		devices = append(devices, serve(t, 1, "--dir", dir, "--marks", marks, "--listen", "127.0.0.1:0", "--allow-all"))
	}
	var mu sync.Mutex
	used := map[int64]string{}
	var running sync.WaitGroup
	for _, d := range devices {
		for worker := range 4 {
			running.Go(func() {
				for i := range n / 4 {
					var got struct{ Return struct{ Package []byte } }
					msg := fmt.Sprint(d.lines[0], worker, i)
					if err := json.Unmarshal([]byte(call(t, d.lines[0], "package", "alice", "bob", msg)), &got); err != nil {
						t.Error(err)
						return
					}
					at, m, err := otp.ParseV1(got.Return.Package)
					if err != nil {
						t.Error(err)
						return
					}
					text, err := otp.OpenV1(got.Return.Package, pad[at:at+otp.UseV1(m)])
					if err != nil || string(text) != msg {
						t.Error(err)
					}
					mu.Lock()
					for p := at; p < at+otp.UseV1(m); p++ {
						if other, ok := used[p]; ok {
							t.Errorf("pad at %d for %q and %q", p, other, msg)
						}
						used[p] = msg
					}
					mu.Unlock()
				}
			})
		}
	}
	running.Wait()
	for _, d := range devices {
		d.end(syscall.SIGTERM, exitOK)
	}
	b, err := os.ReadFile(filepath.Join(dir, otp.MetadataNameV1("alice", "bob")))
	check(t, err)
	m, err := otp.ParseMetadataV1(b)
	if err != nil || m.EncryptIndex != int64(len(used)) {
		t.Errorf("encrypt_index %d after %d bytes, %v", m.EncryptIndex, len(used), err)
	}
}

// A device that is killed between package and done goes on where it was: the same id
// gives the same bytes without a question, and is burned after done.
func TestServeKilled(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	pad := randomPad(20_000)
	v2(t, dir, [2]string{"alice", "bob"}, pad, 0)
	flags := []string{"--dir", dir, "--marks", marks, "--no-page", "--paired"}
	s := serve(t, 1, append(flags, "127.0.0.1:0")...)
	addr := strings.TrimPrefix(s.lines[0], "parley-pad://")
	code, _ := command(t, exitOK, "pair", "--dir", dir)
	path, err := client.Pair(t.Context(), strings.Fields(code)[0], "laptop", t.TempDir())
	check(t, err)
	if out, _ := command(t, exitOK, "clients", "--dir", dir); !strings.HasPrefix(out, "laptop\t") {
		t.Error(out)
	}
	c, err := client.Open(path, "alice")
	check(t, err)
	defer c.Close()
	got := make(chan []byte, 1)
	send := func() {
		packet, err := c.Package(t.Context(), [16]byte{1}, "bob", []byte("hello"))
		if err != nil {
			t.Error(err)
		}
		got <- packet
	}
	go send()
	text := s.err.wait(t, "== Question ", 0)
	number := strings.Trim(strings.Fields(text)[2], ",")
	fmt.Fprintf(s.in, "\ny\ny 1000\ny %s\n", number)
	packet := <-got
	s.end(syscall.SIGKILL, -1)
	s = serve(t, 1, append(flags, addr)...)
	go send()
	if again := <-got; !bytes.Equal(again, packet) {
		t.Fatal("other bytes after kill -9")
	}
	if strings.Contains(s.err.text, "Question") {
		t.Error("asked again")
	}
	s.end(syscall.SIGKILL, -1)
	s = serve(t, 1, append(flags, addr)...)
	check(t, c.Done(t.Context(), "bob", otp.Digest(packet)))
	if _, err := c.Status(t.Context(), "bob"); err != nil {
		t.Error(err)
	}
	command(t, exitOK, "unpair", "--dir", dir, "--marks", marks, "laptop")
	if _, err := c.Status(t.Context(), "bob"); err == nil {
		t.Error("unpaired, and let in")
	}
	s.end(syscall.SIGINT, exitOK)
	p, err := padstore.Open(filepath.Join(dir, "alice.bob.pad"), padstore.Options{Marks: marks})
	check(t, err)
	defer p.Close()
	l, err := p.Layout()
	if err != nil || l.Pending != 0 || l.Sent != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "alice.bob.pad"))
	check(t, err)
	if bytes.Contains(b, pad[:32]) {
		t.Error("not burned")
	}
	out, _ := command(t, exitOK, "log", "--dir", dir, "--marks", marks)
	for _, want := range []string{"start", "pair, client laptop", "unpair, client laptop", "wrong client", "stop"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the log:\n%s", want, out)
		}
	}
}
