package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/internal/filelock"
)

func TestOTCRelayAddress(t *testing.T) {
	for text, want := range map[string][3]string{ // where it is asked, how it is shown, its name
		"9050":                        {"otc://localhost:9050", "http://localhost:9050", "http://localhost:9050"},
		"localhost:9050":              {"otc://localhost:9050", "http://localhost:9050", "http://localhost:9050"},
		"LOCALHOST:9050":              {"otc://localhost:9050", "http://LOCALHOST:9050", "http://localhost:9050"},
		"localhost.:9050":             {"otc://localhost.:9050", "http://localhost.:9050", "http://localhost:9050"},
		"127.0.0.1:9050":              {"otc://127.0.0.1:9050", "http://127.0.0.1:9050", "http://localhost:9050"},
		"[::1]:9050":                  {"otc://[::1]:9050", "http://[::1]:9050", "http://localhost:9050"},
		"http://[0:0:0::1]:9050/":     {"otc://[::1]:9050", "http://[0:0:0::1]:9050/", "http://localhost:9050"},
		"[::ffff:127.0.0.1]:9050":     {"otc://[::ffff:127.0.0.1]:9050", "http://[::ffff:127.0.0.1]:9050", "http://localhost:9050"},
		"http://localhost:9050/":      {"otc://localhost:9050", "http://localhost:9050/", "http://localhost:9050"},
		"HTTP://Localhost:9050":       {"otc://localhost:9050", "HTTP://Localhost:9050", "http://localhost:9050"},
		"http://127.0.0.1":            {"otc://127.0.0.1:80", "http://127.0.0.1", "http://localhost:80"},
		"80":                          {"otc://localhost:80", "http://localhost:80", "http://localhost:80"},
		"https://127.0.0.1":           {"otcs://127.0.0.1:443", "https://127.0.0.1", "https://localhost:443"},
		"127.0.0.2:9050":              {"otc://127.0.0.2:9050", "http://127.0.0.2:9050", "http://127.0.0.2:9050"},
		"relay.example:9050":          {"otc://relay.example:9050", "http://relay.example:9050", "http://relay.example:9050"},
		"relay.example":               {"otc://relay.example:80", "http://relay.example", "http://relay.example"},
		"Relay.Example:80":            {"otc://relay.example:80", "http://Relay.Example:80", "http://relay.example"},
		"http://relay.example.:80/":   {"otc://relay.example.:80", "http://relay.example.:80/", "http://relay.example"},
		"relay.example:443":           {"otc://relay.example:443", "http://relay.example:443", "http://relay.example:443"},
		"https://relay.example":       {"otcs://relay.example:443", "https://relay.example", "https://relay.example"},
		"https://relay.example:443//": {"otcs://relay.example:443", "https://relay.example:443//", "https://relay.example"},
		"https://relay.example:80":    {"otcs://relay.example:80", "https://relay.example:80", "https://relay.example:80"},
		"http://[2001:DB8::0:1]:80":   {"otc://[2001:db8::1]:80", "http://[2001:DB8::0:1]:80", "http://[2001:db8::1]"},
	} {
		p, err := otcRelay(text)
		if err != nil || p.at.String() != want[0] || p.typed != want[1] || p.names[0] != want[2] {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
		if all := "\n" + strings.Join(p.names, "\n") + "\n"; strings.Count(all, "\n"+p.typed+"\n") != 1 {
			t.Errorf("%s: what was typed is not once in %q", text, p.names)
		}
	}
	for _, text := range []string{"", "ftp://x:1", "http://u:p@h:1", "http://h:1/path", "h:0", "99999", "http://h:1?x=y", "a b"} {
		if p, err := otcRelay(text); err == nil {
			t.Errorf("%q: %+v", text, p)
		}
	}
	p, _ := otcRelay("80")
	for _, name := range []string{"http://localhost", "http://127.0.0.1:80/", "http://[::1]:80", "http://[::1]/"} {
		if all := "\n" + strings.Join(p.names, "\n") + "\n"; !strings.Contains(all, "\n"+name+"\n") {
			t.Errorf("%q lacks %s", p.names, name)
		}
	}
}

// port takes the port off the relay's address.
func (w *otcWorld) port() string { return w.relay[strings.LastIndexByte(w.relay, ':')+1:] }

// A relay is the same in each of its spellings: the cursor, what waits, and the lock.
func TestOTCSpellings(t *testing.T) {
	w := newOTCWorld(t)
	port := w.port()
	spellings := []string{port, "localhost:" + port, "127.0.0.1:" + port, "http://localhost:" + port + "/", "LOCALHOST:" + port}
	for i, s := range spellings {
		w.relay = s
		if out, err := w.run("alice", w.set(false, true), fmt.Sprint("send bob ", i), "quit"); exitCode(err) != exitQueued || w.kept() != 1 {
			t.Fatalf("%s: %v, %d kept\n%s", s, err, w.kept(), out)
		}
		w.set(false, false)()
		w.relay = spellings[(i+1)%len(spellings)]
		if out, err := w.run("alice", "quit"); err != nil || w.kept() != 0 {
			t.Errorf("%s: what waits is not found: %v, %d kept\n%s", w.relay, err, w.kept(), out)
		}
		out, err := w.run("bob", "", "quit")
		if err != nil || strings.Count(out, "alice: ") != 1 || !strings.Contains(out, fmt.Sprintf("\nalice: %d\n", i)) {
			t.Errorf("%s: %v\n%s", w.relay, err, out)
		}
	}
	if ref, ok := w.device.refs["bobhttp://localhost:"+port]; len(w.device.refs) != 1 || !ok || ref != 6 {
		t.Errorf("the device keeps %v", w.device.refs)
	}
	again := func() {
		for _, w.relay = range spellings {
			if _, err := w.run("alice", "quit"); exitCode(err) != exitOwner {
				t.Errorf("%s: a second client: %v", w.relay, err)
			}
		}
	}
	if _, err := w.run("alice", again, "quit"); err != nil {
		t.Error(err)
	}
}

// The cursor that was left under another spelling is taken over, the furthest of all.
func TestOTCTakesOverTheCursor(t *testing.T) {
	w := newOTCWorld(t)
	w.run("alice", "send bob one", "send bob two", "send bob three", "send bob four", "quit")
	port := w.port()
	name := "http://localhost:" + port
	for typed, x := range map[string]struct {
		left map[string]int64
		want int64
	}{
		"":                  {map[string]int64{"http://127.0.0.1:": 2, "http://[::1]:": 3, "http://localhost:": 1}, 3},
		"localhost:":        {map[string]int64{"http://127.0.0.1:": 4}, 4},
		"http://127.0.0.1:": {map[string]int64{"http://localhost:": 4, "http://127.0.0.1:": 3}, 4},
		"http://LocalHost:": {map[string]int64{"http://LocalHost:": 2}, 2},
		"HTTP://127.0.0.1:": {map[string]int64{"http://elsewhere.example:": 4}, 0},
	} {
		w.relay = typed + port
		w.device.refs = map[string]int64{}
		for s, ref := range x.left {
			w.device.refs["bob"+s+port] = ref
		}
		out, err := w.run("bob", "quit")
		if err != nil || !strings.Contains(out, fmt.Sprintf("\nCursor: %d\n", x.want)) || w.device.refs["bob"+name] != x.want {
			t.Errorf("%s: %v, kept: %v\n%s", w.relay, err, w.device.refs, out)
		}
	}
}

// Packages that wait under another spelling go out too, in the order they were made.
func TestOTCTakesOverWhatWaits(t *testing.T) {
	w := newOTCWorld(t)
	p, err := otcRelay(w.relay)
	if err != nil {
		t.Fatal(err)
	}
	other, third := "http://[::1]:"+w.port(), "http://localhost:"+w.port()+"/"
	for i, name := range []string{other, third, other, other, p.names[0]} {
		o, err := openOTCOutbox(w.state, []string{name}, "alice")
		if err != nil {
			t.Fatal(err)
		}
		pack := otcPackage{To: "bob", Contents: fmt.Sprintf("AAA%d", i)}
		if err := o.add(pack); err != nil {
			t.Fatal(err)
		}
		made := time.Date(2026, 1, 2, 3, i, 0, 0, time.UTC)
		if i == 3 { // the clock was put back
			made = made.Add(-time.Hour)
		}
		if err := os.Chtimes(filepath.Join(o.dir, o.names()[o.count()-1]), made, made); err != nil {
			t.Fatal(err)
		}
		half := filepath.Join(o.dir, ".new-123")
		if err := os.WriteFile(half, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		o.close()
	}
	lock := func(name string) *otcOutbox {
		o, err := openOTCOutbox(w.state, []string{name}, "alice")
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	held := lock(third)
	if _, err := openOTCOutbox(w.state, p.names, "alice"); exitCode(err) != exitOwner {
		t.Errorf("an earlier run has not ended: %v", err)
	}
	held.close()
	for range 2 {
		o, err := openOTCOutbox(w.state, p.names, "alice")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range o.all() {
			got = append(got, k.Contents[3:])
		}
		if s := strings.Join(got, " "); s != "4 0 1 2 3" { // 4 was here already
			t.Errorf("taken over: %s", s)
		}
		if f, err := os.OpenFile(filepath.Join(o.dir, "lock"), os.O_RDWR, 0); err != nil || filelock.Try(f) == nil {
			t.Error("the folder is not locked", err)
		} else {
			f.Close()
		}
		o.close()
	}
	if half, _ := filepath.Glob(filepath.Join(w.state, "*", ".new-*")); len(half) > 0 {
		t.Errorf("left behind: %q", half)
	}
}

// Who has not the lock touches nothing: the other one may be writing.
func TestOTCLeavesWhatIsWritten(t *testing.T) {
	dir := t.TempDir()
	names := []string{"http://localhost:1"}
	o, err := openOTCOutbox(dir, names, "alice")
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(o.dir, ".new-123")
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openOTCOutbox(dir, names, "alice"); exitCode(err) != exitOwner {
		t.Error(err)
	}
	if _, err := os.Stat(half); err != nil {
		t.Error(err)
	}
	o.close()
	if o, err = openOTCOutbox(dir, names, "alice"); err != nil {
		t.Fatal(err)
	}
	o.close()
	if _, err := os.Stat(half); err == nil {
		t.Error("a killed run's file stays")
	}
}
