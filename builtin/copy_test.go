package builtin_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"parley/messenger"
)

// noticed waits until a notice with that text is in the timeline.
func (p *person) noticed(from, text string) {
	p.t.Helper()
	ctx := patience(p.t)
	seen := func() bool {
		h, err := p.History(ctx, from, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, m := range h {
			if m.Kind == "notice" && strings.Contains(m.Text, text) {
				return true
			}
		}
		return false
	}
	changed := make(chan struct{}, 1)
	go p.Watch(ctx, func(messenger.Change) error {
		select {
		case changed <- struct{}{}:
		default:
		}
		return nil
	})
	for !seen() {
		select {
		case <-changed:
		case <-ctx.Done():
			p.t.Fatalf("%s was not told: %q", p.dir, text)
		}
	}
}

// putBack replaces the profile by an older copy of itself.
func (p *person) putBack(old string) {
	p.t.Helper()
	p.stop()
	if err := os.RemoveAll(p.dir); err != nil {
		p.t.Fatal(err)
	}
	copyDir(p.t, old, p.dir)
	p.start()
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Chmod(to+"/"+f.Name(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProfilePutBack puts an old copy of Bob's profile in place of the newer one.
// What its keys cannot do any more must be told on both sides, never be silent,
// and pairing anew must mend it.
func TestProfilePutBack(t *testing.T) {
	r := newRelay(t)
	a, b := newPerson(t, "alice"), newPerson(t, "bob")
	connect(t, a, b, r.address())
	a.say("bob", "1", messenger.AtDevice)
	b.say("alice", "2", messenger.AtDevice)
	b.stop()
	old := t.TempDir() + "/copy"
	copyDir(t, b.dir, old)
	b.start()
	for range 3 {
		b.say("alice", "forgotten by Bob", messenger.AtDevice)
		a.say("bob", "forgotten by Bob", messenger.AtDevice)
	}
	b.putBack(old)

	if _, err := b.Send(t.Context(), "alice", "from the copy"); err != nil {
		t.Fatal(err)
	}
	a.noticed("bob", "put back from a copy")
	if _, err := a.Send(t.Context(), "bob", "to the copy"); err != nil {
		t.Fatal(err)
	}
	b.noticed("alice", "put back from a copy")

	inv, err := a.Invite(patience(t), messenger.InviteOptions{Relays: []string{r.address()}, As: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Accept(patience(t), messenger.AcceptOptions{Invitation: inv.Text, As: "alice", Relays: []string{r.address()}}); err != nil {
		t.Fatal(err)
	}
	b.say("alice", "mended", messenger.AtDevice)
	a.say("bob", "mended", messenger.AtDevice)
	if got := a.texts("bob"); got[len(got)-1] != "mended" {
		t.Errorf("Alice has %q", got)
	}

	// Once the new key is verified, who has the old one is not heard any more.
	b.stop()
	now := t.TempDir() + "/now"
	copyDir(t, b.dir, now)
	if err := a.verify("bob", true); err != nil {
		t.Fatal(err)
	}
	b.putBack(old)
	thief, err := b.Send(t.Context(), "alice", "with the old key")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if m, err := b.Wait(short, thief.ID, messenger.AtRelay); err == nil {
		t.Errorf("the old mailbox still takes messages: %s", m.State)
	}
	b.putBack(now)
	b.say("alice", "still here", messenger.AtDevice)
	for _, text := range a.texts("bob") {
		if text == thief.Text {
			t.Error("a message under the old key was shown under the verified name")
		}
	}
}
