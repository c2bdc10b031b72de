package nes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/internal/rsakey"
)

func TestResolve(t *testing.T) {
	home := t.TempDir()
	config := filepath.Join(home, "c")
	os.WriteFile(config, []byte("NES_USERNAME=from-file\nPRIVATE_KEY_MESSAGE_FILE=~/k/m\n"), 0o600)
	env := map[string]string{User: "from-env", Address: "https://env.example/"}
	g := Given{Flags: map[string]string{}, Env: func(n string) string { return env[n] }, Config: "~/c", Home: home, OSUser: "os-user"}
	get := func(name string) string {
		t.Helper()
		s, err := Resolve(g)
		if err != nil {
			t.Fatal(err)
		}
		return s.Get(name)
	}
	if got := get(User); got != "from-env" {
		t.Error(got)
	}
	g.Flags[User] = "from-flag"
	if got := get(User); got != "from-flag" {
		t.Error(got)
	}
	delete(g.Flags, User)
	delete(env, User)
	if got := get(User); got != "from-file" {
		t.Error(got)
	}
	if got := get(MessageFile); got != filepath.Join(home, "k", "m") {
		t.Error(got)
	}
	if got := get(SignFile); got != filepath.Join(home, ".nes", "from-file-rsa-sign") {
		t.Error(got)
	}
	if got := get(Broker); got != DefaultBroker {
		t.Error(got)
	}
	g.Public = true
	if get(Broker) != PublicBroker || get(Address) != PublicProvider {
		t.Error("--public does not count")
	}
	s, err := Resolve(g)
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.providerKey()
	if err != nil || key.N.BitLen() != 4096 {
		t.Fatalf("%v", err)
	}
	os.Remove(config)
	if _, err := Resolve(g); CodeOf(err) != Files {
		t.Errorf("%v", err)
	}
	g.Config = "" // the default one need not be there
	if got := get(User); got != "os-user" {
		t.Error(got)
	}
	g.OSUser = "Jo Doe"
	if _, err := Resolve(g); CodeOf(err) != Usage {
		t.Errorf("%v", err)
	}
}

func TestBrokers(t *testing.T) {
	for in, want := range map[string]string{
		"tcp://h":                  "mqtt://h:1883",
		"tcp://u:p%40@h:1/":        "mqtt://h:1",
		"ssl://h":                  "mqtts://h:8883",
		"mqtts://h:1":              "mqtts://h:1",
		"TCP://127.0.0.1:1":        "mqtt://127.0.0.1:1",
		"ws://h":                   "ws://h",
		"wss://u:secret@h:1/a%20b": "wss://h:1/a%20b",
		"ws://":                    "",
		"ws://h:0":                 "",
		"ws://u:secret@h:port":     "",
		"ws://:secret@h":           "",
		"wss://u:secret@h/?x":      "",
		"http://u:secret@h":        "",
		"h:1883":                   "",
		"":                         "",
		"tcp://u:secret@h:port":    "",
		"tcp://u:secret@h/a/topic": "",
	} {
		b, err := ParseBroker(in)
		switch {
		case want == "":
			if CodeOf(err) != Usage || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v, %v", in, b, err)
			}
		case err != nil || b.Address() != want:
			t.Errorf("%q: %v, %v", in, b.Address(), err)
		}
	}
	s := &Settings{Values: map[string]Value{Broker: {"ssl://u:secret@h", "flag"}, Address: {"http://u:secret@h", "flag"}}}
	web := &Settings{Values: map[string]Value{Broker: {"wss://u:secret@h/mqtt", "flag"}}}
	if got := web.Shown(Broker); got != "wss://u:***@h/mqtt" {
		t.Error(got)
	}
	if s.Shown(Broker) != "ssl://u:***@h:8883" || strings.Contains(s.Shown(Address), "secret") {
		t.Errorf("%s, %s", s.Shown(Broker), s.Shown(Address))
	}
}

func TestStamps(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{now, "[12:00:00] bob > x"},
		{now.Add(-24 * time.Hour), "[12:00:00] bob > x"},
		{now.Add(-24*time.Hour - time.Second), "[sent 2026-01-01 11:59:59] bob > x"},
		{now.Add(5 * time.Minute), "[12:05:00] bob > x"},
		{now.Add(5*time.Minute + time.Second), "[sent 2026-01-02 12:05:01] bob > x"},
		{time.UnixMilli(1 << 62), "[sent at an impossible time] bob > x"},
		{time.UnixMilli(-1 << 63), "[sent at an impossible time] bob > x"},
	} {
		m := Message{From: "bob", Time: c.at.UnixMilli(), Text: "x"}
		if got := Dated(m, now); got != c.want {
			t.Errorf("%v: %q", c.at, got)
		}
		if got := Line(m); got != c.at.Local().Format("[15:04:05] bob > x") {
			t.Errorf("%v: %q", c.at, got)
		}
		marked := strings.TrimSuffix(strings.TrimPrefix(c.want, "["), "] bob > x")
		if got := Odd(m, now); strings.HasPrefix(marked, "sent") != (got == "By the clock of bob the next message was "+marked+".") || !strings.HasPrefix(marked, "sent") && got != "" {
			t.Errorf("%v: %q", c.at, got)
		}
	}
}

// No text makes a line of its own, or anything but text.
func TestDefect5Escapes(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)
	got := Line(Message{From: "bob", Time: now.UnixMilli(), Text: "a\r[12:00:00] eve > b\x1b[2K\u202ec\u2028d"})
	if strings.ContainsAny(got, "\r\x1b\u202e\u2028") || !strings.HasPrefix(got, "[12:00:00] bob > a\n    [12:00:00] eve > b") {
		t.Errorf("%q", got)
	}
}

// A rotation that broke off at any moment is gone on with, and no key is lost.
func TestInterruptedInstall(t *testing.T) {
	s := testSettings(t, "alice")
	own, err := s.LoadKeys()
	if err != nil {
		t.Fatal(err)
	}
	v := vectorKeys(t)
	fresh := [2]string{v["bob"].Message.Private, v["bob"].Sign.Private}
	m, err := rsakey.ParsePrivate([]byte(fresh[0]))
	if err != nil {
		t.Fatal(err)
	}
	sign, err := rsakey.ParsePrivate([]byte(fresh[1]))
	if err != nil {
		t.Fatal(err)
	}
	for steps := range 9 { // renames before the crash
		s := testSettings(t, "alice")
		if err := s.writeKeys("", own.Message, own.Sign, true); err != nil {
			t.Fatal(err)
		}
		if err := s.writeKeys(next, m, sign, false); err != nil {
			t.Fatal(err)
		}
		files := s.keyFiles()
		for i := range steps {
			from, to := "", ""
			if i < 4 {
				from, to = files[i], files[i]+".old-2"
			} else {
				from, to = files[7-i]+next, files[7-i]
			}
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.LoadKeys()
		if err != nil {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		if want := steps > 0; got.Message.Equal(m) != want || got.Sign.Equal(sign) != want {
			t.Errorf("after %d steps: not the keys that it should have", steps)
		}
		if len(got.Open) < 2 {
			t.Errorf("after %d steps: %d keys open messages", steps, len(got.Open))
		}
	}
}
