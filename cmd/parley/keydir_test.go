package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

// A keyDirectory is a parleyd of its own process that keeps public keys.
type keyDirectory struct {
	t        *testing.T
	url, dir string
	p        *proc
}

func newKeyDirectory(t *testing.T) *keyDirectory {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &keyDirectory{t: t, url: "http://" + l.Addr().String()}
	l.Close()
	d.start()
	return d
}

// start begins with an empty directory at the same address.
func (d *keyDirectory) start() {
	d.t.Helper()
	if d.p != nil {
		d.p.cmd.Process.Kill()
		<-d.p.done
	}
	d.dir = d.t.TempDir()
	d.p = startProc(d.t, program(d.t, "parleyd"), "", "serve", "--data", d.dir, "--keydir", strings.TrimPrefix(d.url, "http://"))
	d.p.await(regexp.QuoteMeta(d.url))
}

// add makes an active account.
func (d *keyDirectory) add(user string) keydir.Keys {
	d.t.Helper()
	c, err := client.New(client.Options{URL: d.url})
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	var p client.Private
	m, err := rsakey.Generate(rsakey.MinBits)
	if err != nil {
		d.t.Fatal(err)
	}
	s, err := rsakey.Generate(rsakey.MinBits)
	if err != nil {
		d.t.Fatal(err)
	}
	p.Message, p.Sign = m, s
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Register(ctx, user, user+"@example.test", p); err != nil {
		d.t.Fatal(err)
	}
	d.press(d.mailed(ctx, user, 1)[0])
	return keydir.Keys{Message: &m.PublicKey, Sign: &s.PublicKey}
}

// press does what the button behind a mailed link does.
func (d *keyDirectory) press(link string) {
	d.t.Helper()
	resp, err := http.Post(link, "", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
}

// mailed waits for the nth mail to a user and returns its links: to activate, and to
// delete.
func (d *keyDirectory) mailed(ctx context.Context, user string, n int) []string {
	d.t.Helper()
	link, again := regexp.MustCompile(regexp.QuoteMeta(d.url)+"/users/"+user+"/[A-Za-z0-9_=-]+"), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for {
		files, _ := filepath.Glob(filepath.Join(d.dir, "keydir", "mail", user+"-*.eml"))
		if len(files) >= n {
			if b, err := os.ReadFile(files[n-1]); err == nil && link.Match(b) {
				return link.FindAllString(string(b), -1)
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			d.t.Fatalf("no mail for %s", user)
		}
	}
}

func TestKeydir(t *testing.T) {
	d := newKeyDirectory(t)
	alice, bob := d.add("alice"), d.add("bob")
	run := func(want int, args ...string) (out, all string) {
		t.Helper()
		p := startProc(t, program(t, "parley"), "", append(args, "--provider", d.url)...)
		code, out := p.end()
		if code != want {
			t.Fatalf("%v: exit code %d, want %d\n%s", args, code, want, p.text())
		}
		return out, p.text()
	}
	out, all := run(0, "keydir", "show", "alice")
	for _, want := range []string{client.Fingerprint(alice).String(), rsakey.Of(alice.Sign).String(), "version 1, entry 1", "proven"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if !strings.Contains(all, "as it offers it itself") {
		t.Errorf("%s", all)
	}
	out, _ = run(0, "--json", "keydir", "show", "bob")
	var shown shownKeys
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Fingerprint != client.Fingerprint(bob).Hex() || !shown.Bound {
		t.Errorf("%v, %s", err, out)
	}
	run(exitNotFound, "keydir", "show", "nobody")
	run(exitUsage, "keydir", "show", "../key")

	out, _ = run(0, "keydir", "audit", "alice", "bob="+client.Fingerprint(bob).Hex(), "nobody")
	head := regexp.MustCompile(`head +(2:[0-9a-f]{64})`).FindStringSubmatch(out)
	if head == nil || strings.Count(out, "published") != 2 || !strings.Contains(out, "not in the log") {
		t.Fatalf("%s", out)
	}
	run(exitMismatch, "keydir", "audit", "bob="+client.Fingerprint(alice).Hex())
	if out, _ := run(0, "keydir", "audit", "bob", "bob"); strings.Count(out, "published") != 1 {
		t.Errorf("%s", out)
	}
	run(exitUsage, "keydir", "audit", "bob="+client.Fingerprint(bob).Hex(), "bob="+client.Fingerprint(alice).Hex())
	d.add("carol")
	out, _ = run(0, "--json", "keydir", "audit", "--expect", head[1])
	var r client.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Size != 3 {
		t.Errorf("%v, %s", err, out)
	}
	// A friend has been shown another log of the same length.
	out, _ = run(exitMismatch, "keydir", "audit", "--expect", "3:"+strings.Repeat("1", 64))
	if !strings.Contains(out, "THE DIRECTORY LIES") {
		t.Errorf("%s", out)
	}
	run(exitMismatch, "keydir", "audit", "--expect", fmt.Sprintf("9:%s", r.Hash))
	for _, bad := range []string{"x", "2", "2:00", "-1:" + r.Hash, "2:" + strings.ToUpper(r.Hash[:63]) + "G"} {
		run(exitUsage, "keydir", "audit", "--expect", bad)
	}
	run(exitUsage, "keydir", "audit", "alice=00")
	run(exitUsage, "keydir", "audit", "--key", "missing")
	other := filepath.Join(t.TempDir(), "other.pub")
	if err := os.WriteFile(other, rsakey.EncodePublic(bob.Sign), 0o600); err != nil {
		t.Fatal(err)
	}
	run(exitMismatch, "keydir", "audit", "--key", other)
	run(exitMismatch, "keydir", "show", "alice", "--key", other)

	d.start() // another log
	run(exitMismatch, "keydir", "audit", "--expect", head[1])
	run(0, "keydir", "audit")
	d.p.cmd.Process.Kill()
	<-d.p.done
	run(exitRelay, "keydir", "audit")
}
