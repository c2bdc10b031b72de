package builtin_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/builtin"
	relayserver "parley/carrier/relay/server"
	"parley/messenger"
	"parley/padstore"
	"parley/padstore/generate"
	"parley/secure/otp"
)

// A otcRelay is One Time Chat's relay, the real one.
type otcRelay struct {
	t   *testing.T
	dir string
	at  string
	s   *relayserver.Server
	end chan error
}

func newOTCRelay(t *testing.T) *otcRelay {
	r := &otcRelay{t: t, dir: t.TempDir(), at: "127.0.0.1:0"}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *otcRelay) start() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.at = l.Addr().String()
	if r.s, err = relayserver.New(relayserver.Options{Dir: r.dir}); err != nil {
		r.t.Fatal(err)
	}
	r.end = make(chan error, 1)
	go func(s *relayserver.Server, end chan error) { end <- s.Serve(l) }(r.s, r.end)
}

func (r *otcRelay) stop() {
	if r.s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r.s.Shutdown(ctx)
	<-r.end
	r.s = nil
}

func (r *otcRelay) address() string { return "otc://" + r.at }

// newPad makes alice's and bob's ends of a pad, and returns the files to open them by.
func newPad(t *testing.T, v otp.Version, size int64) (files [2]string) {
	t.Helper()
	dir := t.TempDir()
	s := generate.Spec{Names: [2]string{"alice", "bob"}, Size: size, Version: v, Dir: dir, Sources: []generate.Source{{Name: "urandom"}}}
	if _, err := generate.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	to := [2]string{t.TempDir(), t.TempDir()}
	whole, names := filepath.Join(dir, "alice.bob.pad"), [2]string{"alice.bob.pad", "bob.alice.pad"}
	if v == otp.V1 {
		whole, names = filepath.Join(dir, "alice.bob.random.store"), [2]string{"alice.bob.random.metadata", "bob.alice.random.store"}
	}
	ends := []generate.End{{Name: "alice", To: to[0]}, {Name: "bob", To: to[1]}}
	if _, err := generate.Export(t.Context(), whole, ends, generate.ExportOptions{Marks: t.TempDir()}, nil); err != nil {
		t.Fatal(err)
	}
	return [2]string{filepath.Join(to[0], names[0]), filepath.Join(to[1], names[1])}
}

// addPad makes the contact behind a pad.
func (p *person) addPad(r *otcRelay, file string) messenger.Contact {
	p.t.Helper()
	c, err := p.AddPad(patience(p.t), p.padOptions(r, builtin.PadSetup{File: file}))
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *person) padOptions(r *otcRelay, s builtin.PadSetup) messenger.PadOptions {
	s.Marks = filepath.Join(filepath.Dir(p.dir), "marks")
	setup, err := builtin.MarshalPadSetup(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return messenger.PadOptions{Relay: r.address(), Setup: setup}
}

// TestPads: two people and their pad over the real relay, which is restarted, as the
// messengers are: every message once, receipts, used pad burned in the files.
func TestPads(t *testing.T) {
	r := newOTCRelay(t)
	files := newPad(t, otp.V2, 1<<18)
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.addPad(r, files[0])
	alice.say("bob", "before you were there", messenger.AtRelay)
	c := bob.addPad(r, files[1])
	if c.Name != "alice" || c.State != "connected" || c.Protocol != "one-time-pad" || c.Pad.Left != 1<<17 || c.Pad.Version != 2 {
		t.Errorf("%+v, %+v", c, c.Pad)
	}
	alice.until("it came", func() bool { return len(bob.texts("alice")) == 1 })
	alice.say("bob", "and now", messenger.AtDevice)
	bob.say("alice", "an answer", messenger.AtDevice)
	r.stop()
	m, err := alice.Send(t.Context(), "bob", "while the relay is away")
	if err != nil {
		t.Fatal(err)
	}
	bob.stop()
	r.start()
	if _, err := alice.Wait(patience(t), m.ID, messenger.AtRelay); err != nil {
		t.Fatal(err)
	}
	alice.stop()
	alice.start()
	bob.start()
	alice.until("the second came", func() bool { return len(bob.texts("alice")) == 3 })
	long := strings.Repeat("a long text ", 2000)
	alice.say("bob", long, messenger.AtDevice)
	if got, want := bob.texts("alice"), []string{"before you were there", "and now", "while the relay is away", long}; !slices.Equal(got, want) {
		t.Errorf("%.40q", got)
	}
	if err := alice.GrantPad(t.Context(), "bob", 1<<16); err != nil {
		t.Fatal(err)
	}
	alice.until("the grant came", func() bool {
		c, err := bob.Contact(t.Context(), "alice")
		return err == nil && c.Pad.Left > 1<<17
	})
	if err := alice.GrantPad(t.Context(), "bob", 1<<17); !errors.Is(err, messenger.ErrState) {
		t.Errorf("more than is there: %v", err)
	}
	alice.stop()
	bob.stop()
	for i, file := range files {
		now, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Alice's first message, and Bob's: where both lanes begin.
		for _, at := range []int{otp.PadHeaderSize, len(now) - 96} {
			if bytes.Equal(now[at:at+96], whole[at:at+96]) || bytes.Count(now[at:at+96], []byte{0}) < 96 {
				t.Errorf("file %d: what was used at %d is still there", i, at)
			}
		}
	}
}

// TestPadOriginal: the messenger with a pad of version 1, and somebody who uses the
// original's client and device: its HTTP, its format, its names.
func TestPadOriginal(t *testing.T) {
	r := newOTCRelay(t)
	files := newPad(t, otp.V1, 1<<16)
	alice := newPerson(t, "alice")
	bob, err := padstore.Open(files[1], padstore.Options{Marks: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	send := func(text string) {
		t.Helper()
		packet, err := bob.PackageOnce(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.PostForm("http://"+r.at+"/send", url.Values{"recipient_uid": {"alice"}, "sender_uid": {"bob"}, "contents": {base64.StdEncoding.EncodeToString(packet)}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	send("sent before she had a client")
	alice.addPad(r, files[0])
	send("hello from the original")
	alice.until("they came", func() bool { return len(alice.texts("bob")) == 2 })
	alice.say("bob", "hello from here", messenger.AtRelay)

	resp, err := http.Get("http://" + r.at + "/getmessages?recipient_uid=bob&start_ref=0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Messages []struct {
			Sender   string `json:"sender_uid"`
			Contents string `json:"contents"`
		} `json:"messages"`
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(b, &got) != nil || len(got.Messages) != 1 || got.Messages[0].Sender != "alice" {
		t.Fatalf("%s, %v", b, err)
	}
	packet, err := base64.StdEncoding.DecodeString(got.Messages[0].Contents)
	if err != nil {
		t.Fatal(err)
	}
	o, err := bob.UnpackageOnce(t.Context(), packet)
	if err != nil || string(o.Message) != "hello from here" {
		t.Fatalf("%+v, %v", o, err)
	}
	if c, err := alice.Contact(t.Context(), "bob"); err != nil || !slices.ContainsFunc(c.Lacks, func(s string) bool { return strings.Contains(s, "HMAC-SHA256") }) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestPadReplaced: a new pad of the original's format takes the place of the old one, in
// the mailbox that both have.
func TestPadReplaced(t *testing.T) {
	r := newOTCRelay(t)
	for _, v := range []otp.Version{otp.V1, otp.V2} {
		old, files := newPad(t, v, 1<<14), newPad(t, v, 1<<14)
		alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
		alice.addPad(r, old[0])
		bob.addPad(r, old[1])
		alice.say("bob", "one", messenger.AtRelay)
		alice.until("it came", func() bool { return len(bob.texts("alice")) == 1 })
		replace := func(p *person, file, as string) {
			t.Helper()
			o := p.padOptions(r, builtin.PadSetup{File: file})
			o.As = as
			if _, err := p.AddPad(patience(t), o); err != nil {
				t.Fatal(err)
			}
		}
		replace(alice, files[0], "bob")
		alice.say("bob", "two, before he has the new pad", messenger.AtRelay)
		bob.say("alice", "with the old one still", messenger.AtRelay)
		alice.until("it came", func() bool { return len(alice.texts("bob")) == 1 })
		if v == otp.V2 { // where the packet waits in the new pad's mailbox
			replace(bob, files[1], "alice")
			alice.until("it came", func() bool { return len(bob.texts("alice")) == 2 })
		} else {
			replace(bob, files[1], "alice")
		}
		alice.say("bob", "three", messenger.AtRelay)
		alice.until("it came", func() bool {
			all := bob.texts("alice")
			return len(all) > 1 && all[len(all)-1] == "three"
		})
		alice.stop()
		bob.stop()
	}
}

// TestPadRefused: what is no pad, or is somebody's already, makes no contact.
func TestPadRefused(t *testing.T) {
	r := newOTCRelay(t)
	files := newPad(t, otp.V2, 1<<16)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.addPad(r, files[0])
	junk := filepath.Join(t.TempDir(), "junk.pad")
	if err := os.WriteFile(junk, make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	away := &otcRelay{at: "127.0.0.1:1"}
	for name, add := range map[string]func() (messenger.Contact, error){
		"no file": func() (messenger.Contact, error) {
			return bob.AddPad(t.Context(), bob.padOptions(r, builtin.PadSetup{File: "/nowhere/alice.bob.pad"}))
		},
		"no pad": func() (messenger.Contact, error) {
			return bob.AddPad(t.Context(), bob.padOptions(r, builtin.PadSetup{File: junk}))
		},
		"no device": func() (messenger.Contact, error) {
			return bob.AddPad(t.Context(), bob.padOptions(r, builtin.PadSetup{Device: junk, Self: "bob", Peer: "alice"}))
		},
		"no relay": func() (messenger.Contact, error) {
			o := bob.padOptions(r, builtin.PadSetup{File: files[1]})
			o.Relay = "smp://nobody"
			return bob.AddPad(t.Context(), o)
		},
		"the same pad": func() (messenger.Contact, error) {
			o := alice.padOptions(r, builtin.PadSetup{File: files[0]})
			o.As = "robert"
			return alice.AddPad(t.Context(), o)
		},
	} {
		if c, err := add(); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	all, err := bob.Contacts(t.Context())
	if err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	// A relay that is away is no reason to refuse.
	c, err := bob.AddPad(t.Context(), bob.padOptions(away, builtin.PadSetup{File: files[1]}))
	if err != nil || c.State == "connected" {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestPadGone: while the pad's file is away nothing is lost, and it goes on when the file
// is back.
func TestPadGone(t *testing.T) {
	r := newOTCRelay(t)
	files := newPad(t, otp.V2, 1<<16)
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	alice.addPad(r, files[0])
	bob.addPad(r, files[1])
	alice.say("bob", "one", messenger.AtDevice)
	alice.stop()
	if err := os.Rename(files[0], files[0]+".away"); err != nil {
		t.Fatal(err)
	}
	alice.start()
	m, err := alice.Send(t.Context(), "bob", "two")
	if err != nil {
		t.Fatal(err)
	}
	alice.until("it says why it waits", func() bool {
		q, err := alice.Queue(t.Context())
		return err == nil && len(q) == 1 && strings.Contains(q[0].Why, "the pad")
	})
	alice.stop()
	if err := os.Rename(files[0]+".away", files[0]); err != nil {
		t.Fatal(err)
	}
	alice.start()
	if m, err = alice.Wait(patience(t), m.ID, messenger.AtDevice); err != nil || m.State == messenger.Failed {
		t.Fatalf("%+v, %v", m, err)
	}
	if got := bob.texts("alice"); fmt.Sprint(got) != "[one two]" {
		t.Errorf("%q", got)
	}
}
