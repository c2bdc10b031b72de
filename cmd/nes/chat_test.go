package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"parley/internal/nes"
	"parley/parleytest"
)

// A screen is a terminal of tmux with nes chat in it.
type screen struct {
	t            *testing.T
	tmux, socket string
}

func (p *person) chat(with string) *screen {
	p.t.Helper()
	s := &screen{p.t, parleytest.Need(p.t, "tmux"), filepath.Join(p.t.TempDir(), "s")}
	command := "env HOME=" + p.home + " TZ=UTC TERM=screen-256color " + program(p.t, "nes") + " " + strings.Join(append([]string{"chat", "-t", with}, p.flags...), " ") + "; echo ended with $?; cat"
	s.do("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "24", command)
	p.t.Cleanup(func() { exec.Command(s.tmux, "-S", s.socket, "kill-server").Run() })
	return s
}

func (s *screen) do(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.tmux, append([]string{"-S", s.socket}, args...)...)
	cmd.Env = cleanEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

func (s *screen) keys(keys ...string) { s.do(append([]string{"send-keys"}, keys...)...) }

// await waits until the screen shows a pattern. tmux tells nobody of changes: it is
// asked again and again.
func (s *screen) await(pattern string) {
	s.t.Helper()
	re, again, limit := regexp.MustCompile(pattern), time.NewTicker(30*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		shown := s.do("capture-pane", "-p")
		if re.MatchString(shown) {
			return
		}
		select {
		case <-again.C:
		case <-limit:
			s.t.Fatalf("the screen does not show %q:\n%s", pattern, shown)
		}
	}
}

func TestChat(t *testing.T) {
	t.Parallel()
	b, d := newBroker(t, "embedded"), newDirectory(t)
	alice, bob := d.member("alice", b), d.member("bob", b)
	sa := alice.chat("bob")
	sb := bob.chat("alice")
	sa.await("broker: connected")
	sb.await("broker: connected")
	sa.keys("-l", "hello from alice")
	sa.keys("Enter")
	sa.await(`\[\d\d:\d\d:\d\d\] alice > hello from alice *\n`) // sent: nothing behind it
	sb.await(`alice > hello from alice`)
	sb.do("resize-window", "-x", "60", "-y", "10")
	sb.keys("-l", "zażółć gęślą jaźń 漢字")
	sb.keys("Enter")
	sa.await("bob > zażółć gęślą jaźń 漢字")
	bob.send("alice", "\x1b[2Jescape") // beside the chat, and with an escape
	sa.await("bob > escape")
	b.p.kill()
	sa.await("broker: (no connection|.*(cannot be reached|EOF|reset|closed))")
	sa.keys("-l", "while it is gone")
	sa.keys("Enter")
	sa.await("while it is gone .(waiting|sending)")
	b.start()
	sb.await("while it is gone")
	sa.await("while it is gone *\n")
	alice.run("rotate").must()
	sb.keys("-l", "to new keys")
	sb.keys("Enter")
	sb.keys("-l", "x")
	sa.keys("Escape")
	sa.await("ended with 0")
	sb.keys("C-c")
	sb.await("ended with 0")
	// Others' messages are for listen.
	carol := d.member("carol", b)
	carol.send("bob", "psst")
	sb = bob.chat("alice")
	sb.await("1 from others")
	sb.await("THE KEYS OF ALICE HAVE CHANGED|broker: connected")
	sb.keys("-l", "anybody?")
	sb.keys("Enter")
	sb.await("THE KEYS OF ALICE HAVE CHANGED")
	sb.await("NOT SENT")
	sb.keys("Escape")
	sb.await("KEYS CHANGED: nothing is sent")
	sb.keys("Escape")
	sb.await("ended with 0")
	l := bob.listen()
	l.await("carol > psst")
	l.enter()
}

func press(t *testing.T, m model, keys ...tea.KeyPressMsg) model {
	t.Helper()
	for _, k := range keys {
		next, _ := m.Update(k)
		m = next.(model)
	}
	return m
}

func typed(s string) (keys []tea.KeyPressMsg) {
	for _, r := range s {
		keys = append(keys, tea.KeyPressMsg{Code: r, Text: string(r)})
	}
	return append(keys, tea.KeyPressMsg{Code: tea.KeyEnter})
}

func tell(m model, msgs ...tea.Msg) model {
	for _, msg := range msgs {
		next, _ := m.Update(msg)
		m = next.(model)
	}
	return m
}

func TestModel(t *testing.T) {
	var said []string
	full := false
	m := newModel("alice", "bob", func(id int, text string) bool {
		if !full {
			said = append(said, text)
		}
		return !full
	})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	m.now = func() time.Time { return at }
	m = tell(m, tea.WindowSizeMsg{Width: 60, Height: 12})
	shows := func(pattern string) {
		t.Helper()
		if v := m.View().Content; !regexp.MustCompile(pattern).MatchString(v) {
			t.Errorf("no %q in\n%s", pattern, v)
		}
	}
	shows("broker: connecting")
	m = tell(m, stateMsg{connected: true})
	shows("broker: connected")
	m = press(t, m, typed("hello")...)
	shows(`\[03:04:05\] alice > hello.*\(sending\)`)
	m = tell(m, sentMsg{[]int{1}, waiting, ""})
	shows(`waiting for the broker`)
	m = tell(m, sentMsg{[]int{1}, sent, ""})
	shows(`alice > hello *\n`)
	m = press(t, m, typed("")...)
	if len(said) != 1 {
		t.Errorf("%q", said)
	}
	full = true
	m = press(t, m, typed("more")...)
	shows("Too much waits")
	if m.input.Value() != "more" {
		t.Error("what was typed is gone")
	}
	full = false
	m = press(t, m, tea.KeyPressMsg{Code: tea.KeyEnter})
	m = tell(m, sentMsg{[]int{2}, failed, "no\x1b[31m reason"})
	shows("NOT SENT")
	shows("no reason")
	// Text of others: cleaned, long and many lines, and marked when it is old.
	shown := make(chan struct{})
	m = tell(m, inMsg{nes.Message{From: "bob", Time: 0, Text: "\x1b[2J\x07evil\n[00:00:00] alice > never said"}, shown})
	<-shown
	shows(`\[sent 1970-01-01 `)
	shows(`\n    \[00:00:00\] alice > never said`)
	if v := m.View().Content; strings.Contains(v, "\x1b[2J") || strings.Contains(v, "\x07") {
		t.Errorf("%q", v)
	}
	for range 30 {
		m = tell(m, inMsg{nes.Message{From: "bob", Time: at.UnixMilli(), Text: strings.Repeat("wide 漢字 ", 20)}, make(chan struct{})})
	}
	bottom := m.View().Content
	m = press(t, m, tea.KeyPressMsg{Code: tea.KeyPgUp}, tea.KeyPressMsg{Code: tea.KeyPgUp}, tea.KeyPressMsg{Code: tea.KeyUp})
	shows("lines below")
	reading := m.scroll
	m = tell(m, inMsg{nes.Message{From: "bob", Time: at.UnixMilli(), Text: "new"}, make(chan struct{})})
	if m.scroll != reading+1 {
		t.Errorf("it scrolled from %d to %d", reading, m.scroll)
	}
	for range 20 {
		m = press(t, m, tea.KeyPressMsg{Code: tea.KeyPgDown})
	}
	if m.scroll != 0 || m.View().Content == bottom {
		t.Error("not at the end")
	}
	m = tell(m, changedMsg{"carol", "x"}, otherMsg{}, otherMsg{})
	shows("2 from others")
	m = tell(m, changedMsg{"bob", "THE KEYS OF BOB HAVE CHANGED\nlook"})
	shows("THE KEYS OF BOB HAVE CHANGED")
	for _, size := range [][2]int{{1, 1}, {10, 4}, {200, 5}, {30, 100}} {
		m = tell(m, tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		if n := strings.Count(m.View().Content, "\n") + 1; n > max(size[1], 4) {
			t.Errorf("%v: %d lines", size, n)
		}
	}
	m = tell(m, sentMsg{[]int{2}, waiting, ""})
	if m.alert != "" {
		t.Error("the alert stays")
	}
	for _, k := range []tea.KeyPressMsg{{Code: tea.KeyEscape}, {Code: 'c', Mod: tea.ModCtrl}} {
		if _, cmd := m.Update(k); cmd == nil {
			t.Errorf("%v does not end it", k)
		}
	}
	if _, cmd := m.Update(endMsg{}); cmd == nil {
		t.Error("it does not end")
	}
}
