package main

import (
	"bufio"
	"bytes"
	"io"
	"mime/quotedprintable"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/messenger"
)

// TestTopicConversations runs the scripts that need a broker: parleyd's.
func TestTopicConversations(t *testing.T) {
	if testing.Short() {
		t.Skip("builds parleyd and starts many processes")
	}
	runWithBrokers(t, "topicconv")
}

// TestNESScripts runs the scripts about NES accounts: broker and directory are
// parleyd's.
func TestNESScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("builds parleyd and starts many processes")
	}
	runWithBrokers(t, "nes")
}

func runWithBrokers(t *testing.T, dir string) {
	program := build(t.TempDir())
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", dir),
		Setup: func(e *testscript.Env) error {
			b := &brokers{program: program, cmds: map[string]*exec.Cmd{}}
			e.Values[brokersKey{}] = b
			e.Defer(func() {
				for name := range b.cmds {
					b.stop(name, syscall.SIGKILL)
				}
			})
			e.Setenv("PARLEY_PASSPHRASE", "correct horse")
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"broker": cmdBroker, "user": cmdUser, "login": cmdLogin, "eventually": cmdEventually, "exits": cmdExits, "setenv": cmdSetenv, "lines": cmdLines, "until": cmdUntil,
			"press": cmdPress,
		},
	})
}

type brokersKey struct{}

type brokers struct {
	program func() (string, error)
	cmds    map[string]*exec.Cmd
}

func (b *brokers) stop(name string, sig syscall.Signal) {
	if cmd := b.cmds[name]; cmd != nil {
		cmd.Process.Signal(sig)
		cmd.Wait()
		delete(b.cmds, name)
	}
}

// broker start|kill|again NAME [FLAG]...: NAME becomes a variable with its address.
func cmdBroker(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: broker start|kill|again NAME [FLAG]...")
	}
	b, name := ts.Value(brokersKey{}).(*brokers), args[1]
	if args[0] == "kill" {
		b.stop(name, syscall.SIGKILL)
		return
	}
	at, directory := "127.0.0.1:0", "127.0.0.1:0"
	if args[0] == "again" {
		at = strings.TrimPrefix(ts.Getenv(name), "mqtt://")
		directory = strings.TrimPrefix(ts.Getenv(name+"_DIRECTORY"), "http://")
	}
	path, err := b.program()
	ts.Check(err)
	flags := []string{"serve", "--data", ts.MkAbs("broker-" + name), "--mqtt", at}
	for _, f := range args[2:] {
		if flags = append(flags, f); f == "--keydir" {
			flags = append(flags, directory)
		}
	}
	cmd := exec.Command(path, flags...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	cmd.Stderr = os.Stderr
	ts.Check(cmd.Start())
	b.cmds[name] = cmd
	in := bufio.NewReader(out)
	line, err := in.ReadString('\n')
	ts.Check(err)
	ts.Setenv(name, strings.TrimSpace(line))
	if more, _ := in.Peek(in.Buffered()); len(more) > 0 { // they come in one piece
		ts.Setenv(name+"_DIRECTORY", strings.TrimSpace(string(more)))
	}
	go io.Copy(io.Discard, in)
}

var mailedLink = regexp.MustCompile(`http://[^\s"<>]+/users/[a-z0-9_-]+/[A-Za-z0-9_=-]{44}`)

// press BROKER USER activate|delete: follows the link in the newest mail to a user
// and presses the button.
func cmdPress(ts *testscript.TestScript, _ bool, args []string) {
	which := map[string]int{"activate": 0, "delete": 1}[args[2]]
	var newest time.Time
	link := ""
	for limit, again := time.After(time.Minute), time.NewTicker(10*time.Millisecond); link == ""; {
		files, _ := filepath.Glob(ts.MkAbs("broker-" + args[0] + "/keydir/mail/*.eml"))
		for _, f := range files {
			b, err := os.ReadFile(f)
			ts.Check(err)
			st, err := os.Stat(f)
			ts.Check(err)
			text, _ := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(b)))
			var links []string
			for _, l := range mailedLink.FindAllString(string(text), -1) {
				if strings.Contains(l, "/users/"+args[1]+"/") && !slices.Contains(links, l) {
					links = append(links, l)
				}
			}
			if len(links) > which && !st.ModTime().Before(newest) {
				newest, link = st.ModTime(), links[which]
			}
		}
		select {
		case <-again.C:
		case <-limit:
			ts.Fatalf("no mail for %s in %v", args[1], files)
		}
	}
	r, err := http.Post(link, "", nil)
	ts.Check(err)
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		ts.Fatalf("%s", r.Status)
	}
}

// user NAME PASSWORD FILE: the users file of a broker with one user.
func cmdUser(ts *testscript.TestScript, _ bool, args []string) {
	path, err := ts.Value(brokersKey{}).(*brokers).program()
	ts.Check(err)
	cmd := exec.Command(path, "mqtt-user", args[0])
	cmd.Stdin = strings.NewReader(args[1] + "\n")
	line, err := cmd.Output()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), line, 0o600))
}

// login USER BROKER: LOGIN becomes the broker's address with the user.
func cmdLogin(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("LOGIN", strings.Replace(args[1], "://", "://"+args[0]+"@", 1))
}

// eventually REGEXP PROGRAM ARGS...: repeated until standard output matches.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	again, limit := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		if ts.Exec(args[1], args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-again.C:
		case <-limit:
			ts.Fatalf("%s never printed %q", strings.Join(args[1:], " "), args[0])
		}
	}
}

func TestAuthor(t *testing.T) {
	m := messenger.Message{Contact: "lamps", From: "Bo\x1b[2Jb\n12:00", Direction: "in", Kind: "text", Text: "x"}
	if got := line(m); !strings.HasSuffix(got, "  lamps/Bob 12:00: x\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("%q", got)
	}
	m.Kind = "notice"
	if got := line(m); strings.Contains(got, "\x1b") || !strings.Contains(got, "* lamps/") {
		t.Errorf("%q", got)
	}
	table := contactTable([]messenger.Contact{{Name: "lamps", State: "connected", Protocol: "string-phone", Mode: "headed", Members: 3}}, m.Sent)
	if !strings.Contains(table, "string-phone (headed, 3 members)") || strings.Contains(table, "  no  ") {
		t.Errorf("%s", table)
	}
}

// TestTopicAddress: how to log in goes to the messenger, and never into an address
// that is shown.
func TestTopicAddress(t *testing.T) {
	for _, c := range []struct{ broker, topic, password, want string }{
		{"mqtt://h", "a/b", "", "mqtt://h:1883/a/b"},
		{"mqtts://u@h:1", "a b", "p:w/d", "mqtts://u:p%3Aw%2Fd@h:1/a%20b"},
		{"mqtt://u:x@127.0.0.1", "t", "ignored", "mqtt://u:x@127.0.0.1:1883/t"},
		{"mqtt://u@h", "t", "", "mqtt://u@h:1883/t"},
		{"mqtt://h", "t", "p", ""},
		{"mqtt://h/t", "t", "", ""},
		{"http://h", "t", "", ""},
		{"mqtt://h", "a/#", "", ""},
		{"mqtt://h", "", "", ""},
	} {
		t.Setenv("PARLEY_MQTT_PASSWORD", c.password)
		var notes strings.Builder
		a := &app{err: &notes}
		got, err := (&topicAddConversationCmd{Broker: c.broker, Name: c.topic}).address(a)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && exitCode(err) != exitUsage {
			t.Errorf("%s %s: %q, %v", c.broker, c.topic, got, err)
		}
		if warned := strings.Contains(notes.String(), "PARLEY_MQTT_PASSWORD"); warned != strings.Contains(c.broker, ":x@") {
			t.Errorf("%s: %s", c.broker, notes.String())
		}
	}
}
