package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestCommands(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	v1(t, dir, "alice", "bob", randomPad(1000), true)
	both := []string{"--dir", dir, "--marks", marks}
	with := func(args ...string) []string { return append(args, both...) }
	for _, c := range []struct {
		want int
		args []string
		out  string // in either output
	}{
		{exitOK, []string{"--version"}, "parley-pad "},
		{exitOK, []string{"--help"}, "Exit codes:"},
		{exitUsage, []string{}, "see parley-pad --help"},
		{exitUsage, []string{"serve"}, "--dir"},
		{exitUsage, with("serve"), "give an address"},
		{exitUsage, with("serve", "--listen", "0.0.0.0:0"), "everybody in the network"},
		{exitUsage, with("serve", "--listen", "192.0.2.1:0"), "--point-to-point"},
		{exitUsage, with("serve", "--listen", "127.0.0.1:0", "--confirm-timeout", "2h"), "1s to 1h"},
		{exitListen, with("serve", "--listen", "192.0.2.1:0", "--point-to-point"), "cannot listen"},
		{exitFiles, []string{"serve", "--dir", filepath.Join(dir, "none"), "--marks", marks, "--listen", "127.0.0.1:0"}, "no such file"},
		{exitNotFound, []string{"pair", "--dir", dir}, "--paired"},
		{exitOK, []string{"pair", "--dir", dir, "--address", "192.0.2.1:9052"}, "PARLEY-PAD:"},
		{exitUsage, []string{"pair", "--dir", dir, "--address", "nowhere"}, "HOST:PORT"},
		{exitOK, []string{"clients", "--dir", dir}, ""},
		{exitNotFound, with("unpair", "nobody"), "nobody"},
		{exitUsage, with("allow", "bob"), "up-to"},
		{exitUsage, with("allow", "bob", "--up-to", "lots"), "such as 500"},
		{exitUsage, with("allow", "bob", "--up-to", "1K", "--op", "grant"), "package"},
		{exitNotFound, with("allow", "zed", "--up-to", "1K"), "give --self"},
		{exitOK, with("allow", "bob", "--up-to", "1K", "--for", "1h"), "up to 1024 bytes, until"},
		{exitOK, []string{"rules", "--dir", dir}, "package by alice with bob, messages up to 1024 bytes"},
		{exitOK, with("forbid", "bob"), ""},
		{exitNotFound, with("forbid", "bob"), "no such rule"},
		{exitOK, with("show"), "alice  bob   v1"},
		{exitOK, with("log"), "asked again: everything by everybody"},
		{exitOK, with("log", "--json"), `"kind":"rule"`},
		{exitOK, with("log", "--check"), ""},
		{exitFiles, []string{"log", "--dir", filepath.Join(dir, "none"), "--marks", marks}, "no such file"},
	} {
		out, errs := command(t, c.want, c.args...)
		if !strings.Contains(out+errs, c.out) || c.want == exitOK && errs != "" {
			t.Errorf("%q: no %q in\n%s%s", c.args, c.out, out, errs)
		}
	}
	// Marks that are elsewhere, a folder that is open to others, a second person.
	check(t, os.WriteFile(filepath.Join(dir, "pairing.json"), []byte(`{"marks":"`+marks+`"}`), 0o600))
	for _, args := range [][]string{{"allow", "bob", "--up-to", "1"}, {"serve", "--listen", "127.0.0.1:0"}} {
		if _, errs := command(t, exitUsage, append(args, "--dir", dir, "--marks", t.TempDir())...); !strings.Contains(errs, "give --marks "+marks) {
			t.Error(errs)
		}
	}
	check(t, os.Chmod(dir, 0o777))
	if _, errs := command(t, exitFiles, with("serve", "--listen", "127.0.0.1:0")...); !strings.Contains(errs, "chmod 700") {
		t.Error(errs)
	}
	check(t, os.Chmod(dir, 0o700))
	v1(t, dir, "eve", "bob", randomPad(1000), true)
	if _, errs := command(t, exitUsage, with("allow", "bob", "--up-to", "1")...); !strings.Contains(errs, "alice, eve have pads") {
		t.Error(errs)
	}
	command(t, exitOK, with("allow", "bob", "--self", "eve", "--up-to", "1")...)
	if _, errs := command(t, exitNotFound, with("forbid", "bob", "--self", "alice")...); !strings.Contains(errs, "no such rule") {
		t.Error(errs)
	}
	path := filepath.Join(dir, "events.log")
	b, err := os.ReadFile(path)
	check(t, err)
	check(t, os.WriteFile(path, []byte(strings.Replace(string(b), "1024", "1000000", 1)), 0o600))
	if _, errs := command(t, exitMismatch, with("log")...); !strings.Contains(errs, "line 2") {
		t.Error(errs)
	}
	check(t, os.Remove(path))
	if _, errs := command(t, exitMismatch, with("log", "--check")...); !strings.Contains(errs, "cut off") {
		t.Error(errs)
	}
	// What was found is written down, and stays.
	command(t, exitOK, with("allow", "bob", "--self", "alice", "--up-to", "1")...)
	if out, errs := command(t, exitMismatch, with("log")...); !strings.Contains(errs, "for the first time when it had") || !strings.Contains(out, " log: it had") {
		t.Error(out, errs)
	}
	entries, err := filepath.Glob(filepath.Join(marks, "events-*"))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	check(t, os.WriteFile(entries[0], []byte("{"), 0o600))
	for _, args := range [][]string{{"log", "--check"}, {"serve", "--listen", "127.0.0.1:0"}} {
		if _, errs := command(t, exitMismatch, with(args...)...); !strings.Contains(errs, "is damaged") {
			t.Error(errs)
		}
	}
	check(t, os.WriteFile(filepath.Join(dir, "rules.json"), []byte("{"), 0o600))
	if _, errs := command(t, exitFiles, "rules", "--dir", dir); !strings.Contains(errs, "damaged") {
		t.Error(errs)
	}
}

// Pads that come into the folder while the device runs are found, and the questions of a
// device without anybody at it end as a no.
func TestServeLater(t *testing.T) {
	dir, marks := t.TempDir(), t.TempDir()
	s := serve(t, 2, "--dir", dir, "--marks", marks, "--listen", "127.0.0.1:0", "--confirm-timeout", "1s")
	s.in.Close()
	if !strings.HasPrefix(s.lines[1], "page http://127.0.0.1:") || !strings.Contains(s.lines[1], "/#") {
		t.Error(s.lines)
	}
	if got := call(t, s.lines[0], "package", "alice", "bob", "x"); !strings.Contains(got, "Shared pad not found.") {
		t.Error(got)
	}
	v1(t, dir, "alice", "bob", randomPad(1000), true)
	if got := call(t, s.lines[0], "package", "alice", "bob", "x"); !strings.Contains(got, "User rejected pad read request.") {
		t.Error(got)
	}
	s.err.wait(t, "nobody has answered in time", 0)
	command(t, exitOK, "allow", "bob", "--up-to", "1", "--dir", dir, "--marks", marks)
	if got := call(t, s.lines[0], "package", "alice", "bob", "x"); !strings.Contains(got, `"success":true`) {
		t.Error(got)
	}
	s.end(syscall.SIGTERM, exitOK)
	if out, _ := command(t, exitOK, "log", "--dir", dir, "--marks", marks); !strings.Contains(out, "timeout, peer bob") {
		t.Error(out)
	}
}
