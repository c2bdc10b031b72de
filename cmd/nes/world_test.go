package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/parleytest"
)

// TestMain lets scripts run this very program: testscript starts the test binary again
// under the name nes.
func TestMain(m *testing.M) {
	testscript.Main(cleaning{m}, map[string]func(){"nes": main})
}

// cleaning removes the programs that the tests have built.
type cleaning struct{ *testing.M }

func (c cleaning) Run() int {
	code := c.M.Run()
	os.RemoveAll(programs.dir)
	return code
}

var programs struct {
	once sync.Once
	dir  string
	err  error
}

// program builds nes and parleyd once for all tests here.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "nes-test-"); programs.err != nil {
			return
		}
		out, err := exec.Command("go", "build", "-o", programs.dir+"/", "parley/cmd/nes", "parley/cmd/parleyd", "parley/cmd/parley").CombinedOutput()
		if err != nil {
			programs.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// proc is a running program. Its standard input stays open until enter or the end.
type proc struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{}
	err  error

	mu             sync.Mutex
	stdout, stderr bytes.Buffer
	changed        chan struct{} // closed and made anew with each line
}

func start(t *testing.T, home, name string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, cmd: exec.Command(name, args...), done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd.Env = append(cleanEnv(), "HOME="+home, "TZ=UTC")
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	var pipes sync.WaitGroup
	for _, s := range []struct {
		pipe func() (io.ReadCloser, error)
		to   *bytes.Buffer
	}{{p.cmd.StdoutPipe, &p.stdout}, {p.cmd.StderrPipe, &p.stderr}} {
		r, err := s.pipe()
		if err != nil {
			t.Fatal(err)
		}
		pipes.Go(func() { p.read(r, s.to) })
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		pipes.Wait()
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

// cleanEnv is our environment without settings of nes.
func cleanEnv() (env []string) {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name != "HOME" && name != "TZ" && !strings.HasPrefix(name, "MQTT_") && !strings.HasPrefix(name, "PUB") && !strings.HasPrefix(name, "PRIVATE_") && !strings.HasPrefix(name, "NES_") {
			env = append(env, v)
		}
	}
	return env
}

func (p *proc) read(r io.Reader, to *bytes.Buffer) {
	lines := bufio.NewReader(r)
	for {
		l, err := lines.ReadString('\n')
		p.mu.Lock()
		to.WriteString(l)
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *proc) texts() (out, errs string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String(), p.stderr.String(), p.changed
}

// await waits until standard output or standard error matches.
func (p *proc) await(pattern string) {
	p.t.Helper()
	re, limit := regexp.MustCompile(pattern), time.After(time.Minute)
	for {
		out, errs, changed := p.texts()
		if re.MatchString(out) || re.MatchString(errs) {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			if out, errs, _ := p.texts(); !re.MatchString(out) && !re.MatchString(errs) {
				p.t.Fatalf("%v ended (%v) without %q:\n%s%s", p.cmd.Args, p.err, pattern, out, errs)
			}
			return
		case <-limit:
			p.t.Fatalf("%v did not say %q within a minute:\n%s%s", p.cmd.Args, pattern, out, errs)
		}
	}
}

// end waits for the end and returns the exit code and what was printed.
func (p *proc) end() (code int, out, errs string) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		out, errs, _ := p.texts()
		p.t.Fatalf("%v did not end within a minute:\n%s%s", p.cmd.Args, out, errs)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		p.t.Fatal(p.err)
	}
	out, errs, _ = p.texts()
	return p.cmd.ProcessState.ExitCode(), out, errs
}

// must waits for a good end and returns standard output.
func (p *proc) must() string {
	p.t.Helper()
	code, out, errs := p.end()
	if code != 0 {
		p.t.Fatalf("%v ended with %d:\n%s%s", p.cmd.Args, code, out, errs)
	}
	return out
}

// enter presses Enter and waits for the end of a listener.
func (p *proc) enter() string {
	p.t.Helper()
	io.WriteString(p.in, "\n")
	return p.must()
}

func (p *proc) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A broker can be killed and started again on its port.
type broker struct {
	t    *testing.T
	kind string
	dir  string
	port int
	p    *proc

	query string // behind its address
	web   bool   // over WebSocket
}

func newBroker(t *testing.T, kind string) *broker {
	t.Helper()
	b := &broker{t: t, kind: kind, dir: t.TempDir(), port: freePort(t)}
	b.start()
	return b
}

// eachBroker runs a test with the embedded broker and with Mosquitto, also in the
// version that the original speaks.
func eachBroker(t *testing.T, test func(t *testing.T, b *broker), kinds ...string) {
	if kinds == nil {
		kinds = []string{"embedded", "mosquitto", "mosquitto 3.1.1", "mosquitto ws"}
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			kind, old := strings.CutSuffix(kind, " 3.1.1")
			kind, web := strings.CutSuffix(kind, " ws")
			b := &broker{t: t, kind: kind, dir: t.TempDir(), port: freePort(t), web: web}
			b.start()
			if old {
				b.query = "?v=4"
			}
			test(t, b)
		})
	}
}

func (b *broker) start() {
	b.t.Helper()
	if b.kind == "embedded" {
		b.p = start(b.t, b.dir, program(b.t, "parleyd"), "serve", "--data", filepath.Join(b.dir, "data"), "--mqtt", b.at())
		b.p.await("mqtt://")
		return
	}
	conf := filepath.Join(b.dir, "mosquitto.conf")
	text := fmt.Sprintf("user root\npersistence true\npersistence_location %s/\nautosave_interval 1\nautosave_on_changes true\nlistener %d 127.0.0.1\nallow_anonymous true\n", b.dir, b.port)
	if b.web {
		text += fmt.Sprintf("protocol websockets\nlistener %d 127.0.0.1\n", freePort(b.t)) // it wants one that is none, too
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.p = start(b.t, b.dir, parleytest.Need(b.t, "mosquitto"), "-c", conf, "-v")
	b.p.await("running")
}

// url is the broker's address as the command takes it.
func (b *broker) url() string {
	if b.web {
		return "ws://" + b.at() + "/mqtt"
	}
	return "tcp://" + b.at() + b.query
}

func (b *broker) at() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// A person has a home folder and a name.
type person struct {
	t     *testing.T
	name  string
	home  string
	flags []string
}

func newPerson(t *testing.T, name string, b *broker, provider string, more ...string) *person {
	t.Helper()
	return &person{t, name, t.TempDir(), append([]string{"-u", name, "-b", b.url(), "-p", provider}, more...)}
}

// run starts a command; the program's flags stand behind it.
func (p *person) run(args ...string) *proc {
	p.t.Helper()
	return start(p.t, p.home, program(p.t, "nes"), append(args, p.flags...)...)
}

func (p *person) listen() *proc {
	p.t.Helper()
	l := p.run("listen")
	l.await("Press the Enter Key to exit.")
	return l
}

func (p *person) send(to, text string) {
	p.t.Helper()
	if out := p.run("send", "-t", to, "-m", text).must(); out != "Message sended successfully.\n" {
		p.t.Fatalf("%q", out)
	}
}

// fails runs a command that has to end with that code and says why, and returns what
// it says.
func (p *person) fails(want int, args ...string) string {
	p.t.Helper()
	code, out, errs := p.run(args...).end()
	if code != want || errs == "" {
		p.t.Fatalf("%v: exit code %d, want %d\n%s%s", args, code, want, out, errs)
	}
	return errs
}

// A directory is a parleyd that keeps the keys.
type directory struct {
	t   *testing.T
	dir string
	url string
	p   *proc
}

func newDirectory(t *testing.T) *directory {
	t.Helper()
	d := &directory{t: t, dir: t.TempDir(), url: fmt.Sprintf("http://127.0.0.1:%d", freePort(t))}
	d.p = start(t, d.dir, program(t, "parleyd"), "serve", "--data", filepath.Join(d.dir, "data"), "--keydir", strings.TrimPrefix(d.url, "http://"))
	d.p.await(d.url)
	return d
}

// link follows the first or second link of a user's mail as the button does.
func (d *directory) link(name string, which int) {
	d.t.Helper()
	files, _ := filepath.Glob(filepath.Join(d.dir, "data", "keydir", "mail", name+"-*.eml"))
	if len(files) == 0 {
		d.t.Fatalf("no mail for %s", name)
	}
	b, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		d.t.Fatal(err)
	}
	links := regexp.MustCompile(regexp.QuoteMeta(d.url)+"/users/"+name+"/[A-Za-z0-9_=-]+").FindAllString(string(b), -1)
	resp, err := http.Post(links[which], "", nil)
	if err != nil || resp.StatusCode != 200 {
		d.t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
}

// member makes somebody with an active account. Their keys are the vectors', since it
// takes long to make some.
func (d *directory) member(name string, b *broker) *person {
	d.t.Helper()
	v := loadVectors(d.t)
	p := v.person(d.t, name, b, d.url, "")
	p.flags = p.flags[:6] // without the vectors' provider key
	if out := p.run("register", "-e", name+"@example.test").must(); out != "Username registered. Check email for activation.\n" {
		d.t.Fatalf("%q", out)
	}
	d.awaitMail(name, 1)
	d.link(name, 0)
	return p
}

// awaitMail waits until the directory has written so many mails for a user.
func (d *directory) awaitMail(name string, n int) {
	d.t.Helper()
	again, limit := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
	defer again.Stop()
	for {
		if files, _ := filepath.Glob(filepath.Join(d.dir, "data", "keydir", "mail", name+"-*.eml")); len(files) >= n {
			return
		}
		select {
		case <-again.C:
		case <-limit:
			d.t.Fatalf("no mail for %s", name)
		}
	}
}

// vectors are what the original client and its key service said.
type vectors struct {
	Users map[string]struct {
		Message, Sign struct {
			Private string `json:"private_pem"`
			Public  string `json:"public_pem"`
		}
	}
	Messages []vector
	Other    []vector `json:"other_envelopes"`
	Provider struct {
		ServerKey struct {
			Public string `json:"public_pem"`
		} `json:"server_key"`
		Responses []struct{ Username, Body string }
	}
}

type vector struct {
	ID, Envelope, Message, Safe, Topic string
	Sender                             string
	Time                               int64 `json:"timestamp_ms"`
}

func loadVectors(t *testing.T) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/nes.json")
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// original serves the original key service's answers. hang, if there is one, holds up
// look-ups of that user until the channel is closed.
func (v *vectors) original(t *testing.T, hang string, until <-chan struct{}) (url, keyFile string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, a := range v.Provider.Responses {
			if r.URL.Path != "/users/"+a.Username {
				continue
			}
			if a.Username == hang {
				select {
				case <-until:
				case <-r.Context().Done():
					return
				}
			}
			io.WriteString(w, a.Body)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	keyFile = filepath.Join(t.TempDir(), "provider.pub")
	if err := os.WriteFile(keyFile, []byte(v.Provider.ServerKey.Public), 0o644); err != nil {
		t.Fatal(err)
	}
	return s.URL, keyFile
}

// person makes one of the vectors' users.
func (v *vectors) person(t *testing.T, name string, b *broker, url, keyFile string) *person {
	t.Helper()
	p := newPerson(t, name, b, url, "-P", keyFile)
	dir := filepath.Join(p.home, ".nes")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	u := v.Users[name]
	for file, text := range map[string]string{"message": u.Message.Private, "sign": u.Sign.Private} {
		if err := os.WriteFile(filepath.Join(dir, name+"-rsa-"+file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
