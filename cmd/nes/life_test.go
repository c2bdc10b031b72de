package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
)

// From nothing to a conversation, with what was said while nobody listened.
func TestDefect6LifeAndOfflineMessages(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *broker) {
		d := newDirectory(t)
		alice, bob := d.member("alice", b), d.member("bob", b)
		alice.send("bob", "Hello Bob!") // bob has never listened
		alice.send("bob", "Hello Bob!") // the same text is another message
		l := bob.listen()
		l.await(`(?m)^\[\d\d:\d\d:\d\d\] alice > Hello Bob!\n\[\d\d:\d\d:\d\d\] alice > Hello Bob!$`)
		l.enter()
		bob.send("alice", "line\n[00:00:00] bob > forged \x1b[31mred\x07") // defect 5: escapes and forged lines
		l = alice.listen()
		l.await(`bob > line\n    \[00:00:00\] bob > forged red\n`)
		if out := l.enter(); strings.ContainsAny(out, "\x1b\x07") {
			t.Errorf("%q", out)
		}
		// What was shown does not come again.
		l = bob.listen()
		alice.send("bob", "last")
		l.await("last")
		if out := l.enter(); strings.Contains(out, "Hello") {
			t.Errorf("again: %s", out)
		}
		if errs := alice.fails(5, "send", "-t", "nobody", "-m", "x"); !strings.Contains(errs, "Cannot get recipient public key: user not found\n") {
			t.Errorf("%q", errs)
		}
		if errs := alice.fails(5, "register", "-e", "alice@example.test"); !strings.Contains(errs, "Cannot register username: user already exist\n") {
			t.Errorf("%q", errs)
		}
		audit := start(t, alice.home, program(t, "parley"), "keydir", "audit", "--provider", d.url, "alice", "bob").must()
		if !strings.Contains(audit, "2 entries, all verified") {
			t.Errorf("%s", audit)
		}
	})
}

// A broker that was killed and comes back is subscribed to again, and what waited in
// the outbox goes out.
func TestDefect6BrokerRestart(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *broker) {
		d := newDirectory(t)
		alice, bob := d.member("alice", b), d.member("bob", b)
		alice.send("bob", "before")
		l := bob.listen()
		l.await("before")
		b.p.kill()
		l.await("The broker is gone")
		errs := alice.fails(4, "send", "-t", "bob", "-m", "meanwhile")
		if !strings.Contains(errs, "cannot be reached") || !strings.Contains(errs, "The outbox keeps 1") {
			t.Errorf("%q", errs)
		}
		b.start()
		l.await("The broker is back")
		alice.send("bob", "after")
		l.await(`(?s)meanwhile.*after`)
		l.enter()
	})
}

// A provider that accepts and stays silent keeps nobody from listening to others.
func TestDefect7StalledProvider(t *testing.T) {
	t.Parallel()
	v, b := loadVectors(t), newBroker(t, "embedded")
	until := make(chan struct{})
	url, key := v.original(t, "carol", until)
	bob := v.person(t, "bob", b, url, key)
	l := bob.listen()
	for _, m := range v.Messages {
		if m.Sender == "carol" {
			publish(t, b, m.Topic, m.Envelope, false)
		}
	}
	for _, m := range v.Messages {
		if m.Sender == "alice" {
			publish(t, b, m.Topic, m.Envelope, false)
		}
	}
	l.await("alice > Hello Bob!")
	if out, _, _ := l.texts(); strings.Contains(out, "carol") {
		t.Fatalf("%s", out)
	}
	l.enter() // and it ends while it waits
	// The message of carol has been acknowledged: it waits in the state.
	close(until)
	l = bob.listen()
	l.await("carol > ")
	if out := l.enter(); strings.Contains(out, "Hello Bob!") {
		t.Errorf("again: %s", out)
	}
}

// Everything that must not be shown, plain and retained: it ends no listener.
func TestDefect3And4HostileEnvelopes(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, b *broker) {
		v := loadVectors(t)
		url, key := v.original(t, "", nil)
		bob := v.person(t, "bob", b, url, key)
		l := bob.listen()
		for _, m := range v.Messages {
			publish(t, b, m.Topic, m.Envelope, false)
		}
		l.await(`(?m)^\[00:00:00\] alice > .*$`)
		for _, m := range v.Messages {
			if m.ID == "hello" { // defect 4: forwarded to somebody else
				publish(t, b, "nes/carol/message", m.Envelope, false)
			}
		}
		for _, retain := range []bool{false, true} {
			for _, m := range v.Other {
				publish(t, b, m.Topic, m.Envelope, retain)
			}
		}
		publish(t, b, "nes/bob/message", "garbage", true)
		l.await(`(?s)(is no NES message.*){3}`)
		alice := v.person(t, "alice", b, url, key)
		alice.send("bob", "still there")
		l.await("still there")
		out := l.enter()
		count := map[string]int{"Hello Bob!": 1, "<hi> & reordered": 1, "look-alike sender": 0, "still there": 1, "\x1b": 0, "\x07": 0}
		for text, want := range count {
			if n := strings.Count(out, text); n != want {
				t.Errorf("%q is there %d times, want %d\n%s", text, n, want, out)
			}
		}
		if n := len(regexp.MustCompile(`(?m)^\[`).FindAllString(out, -1)); n != len(v.Messages)+2 {
			t.Errorf("%d messages, want %d\n%s", n, len(v.Messages)+2, out)
		}
		// A later start meets the retained garbage, and replays of everything.
		l = bob.listen()
		for _, m := range v.Messages {
			publish(t, b, m.Topic, m.Envelope, false)
		}
		l.await(fmt.Sprintf(`(?s)(came before.*){%d}`, len(v.Messages)))
		if out := l.enter(); out != "Press the Enter Key to exit.\n" {
			t.Errorf("%q", out)
		}
	}, "embedded", "mosquitto 3.1.1")
}

// Changed keys stop both ways until the user says that they are the right ones.
func TestDefect2KeyChange(t *testing.T) {
	t.Parallel()
	b, d := newBroker(t, "embedded"), newDirectory(t)
	alice, bob := d.member("alice", b), d.member("bob", b)
	alice.send("bob", "one")
	l := bob.listen()
	l.await("alice > one")
	l.enter()
	bob.send("alice", "two") // sealed to the old key, read with the new one there
	alice.run("rotate").must()
	alice.listen().enter()
	alice.send("bob", "three")
	errs := bob.fails(6, "send", "-t", "alice", "-m", "x")
	for _, want := range []string{"THE KEYS OF ALICE HAVE CHANGED", "known: ", "offered: ", "vouches for the new keys", "nes trust alice --new "} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	l = bob.listen()
	l.await("THE KEYS OF ALICE HAVE CHANGED")
	if out := l.enter(); strings.Contains(out, "three") {
		t.Error("shown before anybody decided")
	}
	fp := regexp.MustCompile(`--new ([0-9a-f]{64})`).FindStringSubmatch(errs)[1]
	bob.fails(6, "trust", "alice")
	bob.fails(6, "trust", "alice", "--new", strings.Repeat("0", 64))
	l = bob.listen()
	l.await("THE KEYS OF ALICE HAVE CHANGED")
	bob.run("trust", "alice", "--new", fp).must()
	l.await("alice > three")
	// While somebody listens: what does not fit the known keys waits until the provider
	// was asked anew, and is not taken for a forgery.
	alice.run("rotate").must()
	alice.send("bob", "newer still")
	l.await(`(?s)(HAVE CHANGED.*){2}`)
	_, shown, _ := l.texts()
	all := regexp.MustCompile(`--new ([0-9a-f]{64})`).FindAllStringSubmatch(shown, -1)
	bob.run("trust", "alice", "--new", all[len(all)-1][1]).must()
	l.await("alice > newer still")
	if out := l.enter(); strings.Contains(out, "forged") {
		t.Error(out)
	}
	bob.send("alice", "four")
	// Deleted and registered again by somebody else: nobody vouches.
	d.link("alice", 1)
	mallory := newPerson(t, "alice", b, d.url)
	mallory.run("generate").must()
	mallory.run("register", "-e", "mallory@example.test").must()
	d.awaitMail("alice", 2)
	d.link("alice", 0)
	if errs := bob.fails(6, "send", "-t", "alice", "-m", "x"); !strings.Contains(errs, "does NOT vouch") {
		t.Errorf("%s", errs)
	}
}

// Without any provider: public keys are files.
func TestWithoutProvider(t *testing.T) {
	t.Parallel()
	v, b := loadVectors(t), newBroker(t, "embedded")
	bob, alice := v.person(t, "bob", b, "none", ""), v.person(t, "alice", b, "none", "")
	bob.flags, alice.flags = bob.flags[:6], alice.flags[:6]
	if errs := bob.fails(5, "send", "-t", "alice", "-m", "x"); !strings.Contains(errs, "there is no provider") {
		t.Errorf("%q", errs)
	}
	for p, peer := range map[*person]string{bob: "alice", alice: "bob"} {
		dir := filepath.Join(p.home, ".nes", "peers")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		u := v.Users[peer]
		os.WriteFile(filepath.Join(dir, peer+"-message.pub"), []byte(u.Message.Public), 0o644)
		os.WriteFile(filepath.Join(dir, peer+"-sign.pub"), []byte(u.Sign.Public), 0o644)
	}
	l := bob.listen()
	alice.send("bob", "by hand")
	l.await("alice > by hand")
	if errs := bob.fails(1, "listen"); !strings.Contains(errs, "listens for bob already") {
		t.Errorf("%q", errs)
	}
	l.enter()
}

func publish(t *testing.T, b *broker, topic, payload string, retain bool) {
	t.Helper()
	at, err := mqtt.ParseBroker("mqtt://" + b.at())
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(background(t), client.Options{Broker: at})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(background(t))
	if err := c.Publish(background(t), client.Message{Topic: topic, Payload: []byte(payload), QoS: 2, Retain: retain}); err != nil {
		t.Fatal(err)
	}
}
