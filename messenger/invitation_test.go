package messenger

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"parley"
)

func sampleInvitation(t testing.TB) (*Messenger, offering, string) {
	m := &Messenger{}
	o := offering{stp: parley.Ratchet, name: "Zoë", offer: bytes.Repeat([]byte{7}, 65), mailboxes: []parley.Address{"faulty://one/abc", "faulty://two/def"}}
	text, digest, err := m.formatInvitation(o)
	if err != nil {
		t.Fatal(err)
	}
	o.digest = digest
	return m, o, text
}

func TestInvitationText(t *testing.T) {
	m, want, text := sampleInvitation(t)
	if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567:") != "" {
		t.Fatalf("%q is not for a QR code's alphanumeric mode", text)
	}
	var folded strings.Builder
	for i, r := range text {
		folded.WriteRune(r)
		if i%20 == 19 {
			folded.WriteString("\r\n\t > "[:4])
		}
	}
	for _, s := range []string{text, strings.ToLower(text), "  " + text + "\n", folded.String(), text + "==", "\ufeff" + text} {
		got, err := m.parseInvitation(s)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if got.stp != want.stp || got.name != want.name || !bytes.Equal(got.offer, want.offer) || len(got.mailboxes) != 2 || got.mailboxes[1] != want.mailboxes[1] || got.digest != want.digest {
			t.Fatalf("%+v", got)
		}
	}
}

func TestBrokenInvitations(t *testing.T) {
	m, _, text := sampleInvitation(t)
	for _, c := range []struct{ name, text, says string }{
		{"empty", "", "begin with"},
		{"something else", "https://example.org", "begin with"},
		{"only the beginning", "PARLEY:", "part is missing"},
		{"end missing", text[:len(text)-1], "missing"},
		{"half", text[:len(text)/2], "missing"},
		{"one character", text[:40] + other(text[40]) + text[41:], "wrong"},
		{"two exchanged", text[:40] + text[41:42] + text[40:41] + text[42:], "wrong"},
		{"no base32", text[:40] + "!" + text[41:], "'!'"},
		{"twice", text + text, "':'"},
		{"endless", text + strings.Repeat("A", 1<<20), "too long"},
	} {
		if c.name == "two exchanged" && text[40] == text[41] {
			continue
		}
		if _, err := m.parseInvitation(c.text); !errors.Is(err, ErrInvitation) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, change := range []func(*offering){
		func(o *offering) { o.mailboxes = nil },
		func(o *offering) { o.mailboxes = make([]parley.Address, maxRelays+1) },
		func(o *offering) { o.mailboxes = []parley.Address{"faulty://a b"} },
	} {
		o := offering{stp: parley.Ratchet, offer: []byte{1}, mailboxes: []parley.Address{"x"}}
		change(&o)
		text, _, err := m.formatInvitation(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.parseInvitation(text); !errors.Is(err, ErrInvitation) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, _, err := m.formatInvitation(offering{offer: make([]byte, maxOffer+1)}); err == nil {
		t.Error("an offer that is too long was written")
	}
}

func other(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func FuzzInvitation(f *testing.F) {
	m, _, text := sampleInvitation(f)
	f.Add(text)
	f.Add("PARLEY:AEAA")
	f.Fuzz(func(t *testing.T, s string) {
		o, err := m.parseInvitation(s)
		if err != nil {
			if !errors.Is(err, ErrInvitation) {
				t.Fatal(err)
			}
			return
		}
		if len(o.mailboxes) == 0 {
			t.Fatal("no mailbox")
		}
	})
}

// FuzzInvitationBody gets past the checksum.
func FuzzInvitationBody(f *testing.F) {
	f.Add([]byte{0, 67, 0, 1, 0, 0, 1, 9, 1, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var o offering
		m := &Messenger{}
		if err := m.readInvitation(&o, b); err == nil && (len(o.mailboxes) == 0 || len(o.mailboxes) > maxRelays) {
			t.Fatalf("%+v", o)
		}
	})
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Alice", "Alice"}, {"  two   words\n", "two words"}, {"a\x1b[31mred\x07", "a [31mred"},
		{"\u202egnihsihp", "gnihsihp"}, {"zero\u200bwidth", "zerowidth"}, {"\xff\xfebad", "bad"}, {"", ""}, {"\x00\n", ""},
		{strings.Repeat("ü", 100), strings.Repeat("ü", MaxName)},
	} {
		if got := cleanName(c.in); got != c.want {
			t.Errorf("%q became %q, not %q", c.in, got, c.want)
		}
	}
	if got := shortName(strings.Repeat("ü", 40)); got != strings.Repeat("ü", 16) {
		t.Error(got)
	}
}

func TestNamesOfContacts(t *testing.T) {
	inBubble(t, 1, func(w *world) {
		t := w.t
		a := w.person("alice", "one")
		names := []string{}
		for range 3 {
			b := w.person(strings.Repeat("x", len(w.open))+"bob", "two")
			b.m.set.Name = "Bob"
			inv, err := a.m.Invite(t.Context(), InviteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.m.Accept(t.Context(), AcceptOptions{Invitation: inv.Text}); err != nil {
				t.Fatal(err)
			}
			w.until("they connect", func() bool {
				all, err := a.m.Contacts(t.Context())
				names = names[:0]
				for _, c := range all {
					if c.State == connected {
						names = append(names, c.Name)
					}
				}
				return err == nil && len(names) == len(all)
			})
		}
		for _, n := range []string{"Bob", "Bob-2", "Bob-3"} {
			if _, err := a.m.Contact(t.Context(), n); err != nil {
				t.Error(err, names)
			}
		}
		if err := a.m.Rename(t.Context(), "bob-2", "BOB-3"); !errors.Is(err, ErrTaken) {
			t.Error(err)
		}
		if err := a.m.Rename(t.Context(), "bob-2", "Robert"); err != nil {
			t.Error(err)
		}
		if err := a.m.Rename(t.Context(), "robert", "bad\x1bname"); !errors.Is(err, ErrState) {
			t.Error(err)
		}
		if err := a.m.Rename(t.Context(), "nobody", "x"); !errors.Is(err, ErrNoContact) {
			t.Error(err)
		}
		if _, err := a.m.Invite(t.Context(), InviteOptions{As: " \n"}); !errors.Is(err, ErrState) {
			t.Error(err)
		}
		if _, err := a.m.Invite(t.Context(), InviteOptions{Relays: []string{"http://x"}}); !errors.Is(err, ErrNoRelay) {
			t.Error(err)
		}
	})
}
