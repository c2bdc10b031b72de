package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"parleyd": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "end": end, "dial": dial, "mode": mode, "code": code,
			"mqttport": find(`(?m)^mqtt://[^:]*:([0-9]+)$`), "tlsport": find(`(?m)^mqtts://[^:]*:([0-9]+)`), "pin": find(`cert-sha256=([0-9a-f]+)`),
			"keydirurl": find(`(?m)^(https?://[^:]*:[0-9]+)$`), "otcurl": otcURL, "postform": postForm, "link": link, "get": get, "post": post,
		},
		Setup: func(e *testscript.Env) error {
			e.Values["relays"] = relays{}
			return nil
		},
	})
}

// A relay is a parleyd in the background; its output goes to NAME.out and NAME.err.
type relay struct {
	cmd *exec.Cmd
	end chan struct{}
}

type relays map[string]*relay

// start NAME ARG... starts parleyd in the background and waits until it accepts
// connections.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start name arg...")
	}
	name := args[0]
	var path string
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path = filepath.Join(dir, "parleyd"); isFile(path) {
			break
		}
	}
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer errs.Close()
	r := &relay{cmd: exec.Command(path, args[1:]...), end: make(chan struct{})}
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = ts.MkAbs("."), out, errs
	r.cmd.Env = append(os.Environ(), "TESTSCRIPT_COMMAND=parleyd", "PATH="+ts.Getenv("PATH"))
	ts.Check(r.cmd.Start())
	go func() { r.cmd.Wait(); close(r.end) }()
	ts.Defer(func() { r.cmd.Process.Kill(); <-r.end })
	ts.Value("relays").(relays)[name] = r
	for late := time.After(20 * time.Second); ; {
		if b, _ := os.ReadFile(ts.MkAbs(name + ".out")); strings.HasSuffix(string(b), "\n") {
			if _, addr, ok := strings.Cut(string(b), "smp2020-plain://"); ok {
				ts.Setenv("PLAIN", strings.TrimSpace(addr))
			}
			return
		}
		select {
		case <-r.end:
			b, _ := os.ReadFile(ts.MkAbs(name + ".err"))
			ts.Fatalf("%s ended: %v\n%s", name, r.cmd.ProcessState, b)
		case <-late:
			ts.Fatalf("%s prints no address", name)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// end NAME SIGNAL CODE sends the signal and checks that the relay ends within
// 5 s with that exit code (-1: by the signal).
func end(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: end name TERM|INT|KILL code")
	}
	r := ts.Value("relays").(relays)[args[0]]
	sig := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}[args[1]]
	ts.Check(r.cmd.Process.Signal(sig))
	select {
	case <-r.end:
	case <-time.After(5 * time.Second):
		ts.Fatalf("still running after 5 s")
	}
	if code := r.cmd.ProcessState.ExitCode(); strconv.Itoa(code) != args[2] {
		b, _ := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		ts.Fatalf("ended with %v\n%s", r.cmd.ProcessState, b)
	}
}

// dial SEND WANT talks to the relay that was started last, in plain; \n is a line end.
func dial(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: dial send want")
	}
	addr := ts.Getenv("PLAIN")
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if neg {
		if err == nil {
			c.Close()
			ts.Fatalf("%s still answers", addr)
		}
		return
	}
	ts.Check(err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = io.WriteString(c, strings.ReplaceAll(args[0], `\n`, "\n"))
	ts.Check(err)
	want := strings.ReplaceAll(args[1], `\n`, "\n")
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		ts.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// find makes a command NAME FILE that sets a variable to what a pattern finds in a
// file.
func find(pattern string) func(*testscript.TestScript, bool, []string) {
	re := regexp.MustCompile(pattern)
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: command variable file")
		}
		m := re.FindStringSubmatch(ts.ReadFile(args[1]))
		if m == nil {
			ts.Fatalf("%s has no %s", args[1], pattern)
		}
		ts.Setenv(args[0], m[1])
	}
}

// code N PROGRAM ARG... runs a program and checks its exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code n program arg...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

var mailedLink = regexp.MustCompile(`http://[0-9.:]+(/users/[a-z]+/\S{44})`)

// link NAME FILE waits for a mail and sets a variable to the path of its first link.
func link(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: link variable file")
	}
	for late := time.After(20 * time.Second); ; {
		if b, err := os.ReadFile(ts.MkAbs(args[1])); err == nil {
			m := mailedLink.FindSubmatch(b)
			if m == nil {
				ts.Fatalf("no link in\n%s", b)
			}
			ts.Setenv(args[0], string(m[1]))
			return
		}
		select {
		case <-late:
			ts.Fatalf("%s does not come", args[1])
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// get URL CODE FILE asks a server over HTTP and keeps the body.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: get url code file")
	}
	answer, err := http.Get(args[0])
	ts.Check(err)
	keep(ts, answer, args[1], args[2])
}

// post URL CODE FILE BODY does the same with POST; the body @NAME is a file's.
func post(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: post url code file body")
	}
	body := args[3]
	if name, ok := strings.CutPrefix(body, "@"); ok {
		body = ts.ReadFile(name)
	}
	answer, err := http.Post(args[0], "application/json", strings.NewReader(body))
	ts.Check(err)
	keep(ts, answer, args[1], args[2])
}

// postForm URL CODE FILE FORM does the same with a form.
func postForm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: postform url code file form")
	}
	answer, err := http.Post(args[0], "application/x-www-form-urlencoded", strings.NewReader(args[3]))
	ts.Check(err)
	keep(ts, answer, args[1], args[2])
}

var otcAddress = regexp.MustCompile(`(?m)^otc(s?://[^:]*:[0-9]+)$`)

// otcURL NAME FILE sets a variable to the URL of the relay of One Time Chat.
func otcURL(ts *testscript.TestScript, neg bool, args []string) {
	m := otcAddress.FindStringSubmatch(ts.ReadFile(args[1]))
	if neg || m == nil {
		ts.Fatalf("%s has no address of a relay", args[1])
	}
	ts.Setenv(args[0], "http"+m[1])
}

func keep(ts *testscript.TestScript, answer *http.Response, code, file string) {
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(file), b, 0o600))
	if strconv.Itoa(answer.StatusCode) != code {
		ts.Fatalf("%s: %s %s", answer.Request.URL.Path, answer.Status, b)
	}
}

// mode MODE FILE... checks permissions, written as ls does.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args[1:] {
		st, err := os.Stat(ts.MkAbs(filepath.FromSlash(name)))
		ts.Check(err)
		if got := st.Mode().Perm().String(); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", name, got, args[0])
		}
	}
}
