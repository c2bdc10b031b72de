package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"

	"parley"
	"parley/messenger"
)

func TestAccounts(t *testing.T) {
	both(t, func(t *testing.T, f *fake, api messenger.API) {
		ctx := t.Context()
		o := messenger.AccountOptions{Kind: "nes", Name: "alice", Server: "mqtt://u:p@h:1883", Setup: []byte{0, 0xff}}
		a := must[messenger.Account](t)(api.AddAccount(ctx, o))
		if !reflect.DeepEqual(f.account, o) || !reflect.DeepEqual(a, f.accounts[0]) {
			t.Errorf("add account: %+v of %+v", a, f.account)
		}
		if a := must[messenger.Account](t)(api.Register(ctx, "nes", "alice", "a@b")); !a.Registered {
			t.Errorf("register: %+v", a)
		}
		if a := must[messenger.Account](t)(api.SetPresence(ctx, "nes", "alice", true)); !a.Presence {
			t.Errorf("presence: %+v", a)
		}
		if a := must[messenger.Account](t)(api.RotateAccount(ctx, "nes", "alice", []byte{1, 0xfe})); len(a.Fingerprint) != 1 || a.Fingerprint[0] != "01fe" {
			t.Errorf("rotate: %+v", a)
		}
		if all := must[[]messenger.Account](t)(api.Accounts(ctx)); !reflect.DeepEqual(all, f.accounts) {
			t.Errorf("accounts: %+v", all)
		}
		p := messenger.PeerOptions{Account: "alice", Kind: "nes", User: "bob", As: "Bob", Keys: []byte("keys")}
		if c := must[messenger.Contact](t)(api.AddPeer(ctx, p)); !reflect.DeepEqual(f.peer, p) || !reflect.DeepEqual(c, f.contacts[0]) {
			t.Errorf("add peer: %+v of %+v", c, f.peer)
		}
		for want, f := range map[error]func() error{
			messenger.ErrNoAccount: func() error { return api.RemoveAccount(ctx, "nes", "carol") },
			messenger.ErrNoUser:    func() error { _, err := api.Register(ctx, "nes", "alice", "nobody"); return err },
			messenger.ErrDirectory: func() error { _, err := api.Register(ctx, "nes", "alice", ""); return err },
		} {
			if err := f(); !errors.Is(err, want) {
				t.Errorf("%v: %v", want, err)
			}
		}
		if err := api.RemoveAccount(ctx, "nes", "alice"); err != nil || len(f.accounts) > 0 {
			t.Error(err)
		}
	})
}

func TestPads(t *testing.T) {
	both(t, func(t *testing.T, f *fake, api messenger.API) {
		ctx := t.Context()
		o := messenger.PadOptions{Relay: "otc://h:1", As: "bob", Setup: []byte{0, 0xff}}
		if c := must[messenger.Contact](t)(api.AddPad(ctx, o)); !reflect.DeepEqual(f.pad, o) || !reflect.DeepEqual(c, f.contacts[0]) {
			t.Errorf("add pad: %+v of %+v", c, f.pad)
		}
		if err := api.GrantPad(ctx, "bob", 1<<39); err != nil || f.contacts[0].Pad.Left != 1<<39 {
			t.Errorf("grant: %v, %+v", err, f.contacts[0].Pad)
		}
		if err := api.GrantPad(ctx, "carol", 1); !errors.Is(err, messenger.ErrNoContact) {
			t.Errorf("grant to nobody: %v", err)
		}
		c := must[messenger.Circle](t)(api.SetCircle(ctx, "friends", []string{"bob"}))
		if all := must[[]messenger.Circle](t)(api.Circles(ctx)); !reflect.DeepEqual(all, []messenger.Circle{c}) {
			t.Errorf("circles: %+v", all)
		}
		if all := must[[]messenger.Message](t)(api.SendAll(ctx, "friends", "hello")); len(all) != 1 || all[0].Contact != "bob" || all[0].Text != "hello" {
			t.Errorf("send to all: %+v", all)
		}
	})
}

// both runs a test against the API itself and against the same API at the other
// end of the wire: a face must not be able to tell.
func both(t *testing.T, test func(t *testing.T, f *fake, api messenger.API)) {
	t.Run("local", func(t *testing.T) {
		f := newFake()
		test(t, f, f)
	})
	t.Run("remote", func(t *testing.T) {
		f := newFake()
		_, c := attach(t, f)
		test(t, f, c)
	})
}

func attach(t testing.TB, f *fake) (*Server, *Client) {
	t.Helper()
	s := NewServer(f, "/profile", Sentinels{"far": errFar})
	return s, join(t, s)
}

// join connects one more client to s.
func join(t testing.TB, s *Server) *Client {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		s.ServeConn(a)
		close(done)
	}()
	c, err := NewClient(t.Context(), b, Sentinels{"far": errFar})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestAPIAnswers(t *testing.T) {
	both(t, func(t *testing.T, f *fake, api messenger.API) {
		ctx := t.Context()
		inv := must[messenger.Invitation](t)(api.Invite(ctx, messenger.InviteOptions{Relays: []string{"a", "b"}, As: "bob", Bare: true}))
		if inv != (messenger.Invitation{Text: "parley:a,b", Contact: "bob", Bare: true}) {
			t.Errorf("invite: %+v", inv)
		}
		c := must[messenger.Contact](t)(api.Accept(ctx, messenger.AcceptOptions{Invitation: "parley:x", As: "bob"}))
		if !reflect.DeepEqual(c, f.contacts[0]) {
			t.Errorf("accept: %+v, want %+v", c, f.contacts[0])
		}
		for _, err := range []error{
			api.SetVerified(ctx, messenger.SafetyNumber{Contact: "bob", ID: "0a0b"}, true), api.SetReceipts(ctx, "bob", "read"), api.Rename(ctx, "bob", "rob"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		if c := must[messenger.Contact](t)(api.Contact(ctx, "rob")); !c.Verified || c.Receipts != "read" {
			t.Errorf("contact: %+v", c)
		}
		sn := must[messenger.SafetyNumber](t)(api.SafetyNumber(ctx, "rob"))
		if len(sn.Words) != 2 || sn.Digits != "12345" || sn.QR == "" || !sn.Verified {
			t.Errorf("safety number: %+v", sn)
		}
		conv := messenger.ConversationOptions{Name: "house", STP: parley.StringPhone, Bare: true, Address: "mqtt://u:p@h/t", Setup: []byte{0, 1, 0xff}}
		c = must[messenger.Contact](t)(api.AddConversation(ctx, conv))
		if !reflect.DeepEqual(c, f.contacts[1]) || !reflect.DeepEqual(f.conversation, conv) {
			t.Errorf("add conversation: %+v of %+v", c, f.conversation)
		}
		want := f.person("house", "asks")
		if p := must[[]messenger.Person](t)(api.People(ctx, "house")); len(p) != 2 || !reflect.DeepEqual(p[1], want) {
			t.Errorf("people: %+v", p)
		}
		want.State = "member"
		if p := must[messenger.Person](t)(api.Admit(ctx, "house", "0a0b")); !reflect.DeepEqual(p, want) {
			t.Errorf("admit: %+v", p)
		}
		want.State = "expelled"
		if p := must[messenger.Person](t)(api.Expel(ctx, "house", "0a0b")); !reflect.DeepEqual(p, want) {
			t.Errorf("expel: %+v", p)
		}
		want.State, want.Name = "member", "carol"
		if p := must[messenger.Person](t)(api.NamePerson(ctx, "house", "0a0b", "carol")); !reflect.DeepEqual(p, want) {
			t.Errorf("name: %+v", p)
		}
		if err := api.Remove(ctx, "house"); err != nil {
			t.Error(err)
		}
		texts := []string{"hello", "", "esc \x1b \u009b \u202e <&>\u2028", strings.Repeat("\x01", messenger.MaxText)}
		for i, text := range texts {
			m := must[messenger.Message](t)(api.Send(ctx, "rob", text))
			if !reflect.DeepEqual(m, f.messages[i]) {
				t.Errorf("send %.20q: %+v", text, m)
			}
		}
		if h := must[[]messenger.Message](t)(api.History(ctx, "rob", 0)); !reflect.DeepEqual(h, f.messages) {
			t.Errorf("history: %d messages of %d, or different ones", len(h), len(f.messages))
		}
		if h := must[[]messenger.Message](t)(api.History(ctx, "rob", 2)); len(h) != 2 || h[1].Text != texts[3] {
			t.Errorf("history of 2: %d", len(h))
		}
		if q := must[[]messenger.QueueEntry](t)(api.Queue(ctx)); len(q) != 4 || q[0].NextTry != epoch {
			t.Errorf("queue: %+v", q)
		}
		id := f.messages[0].ID
		if m := must[messenger.Message](t)(api.Cancel(ctx, id[:30])); m.State != messenger.Canceled {
			t.Errorf("cancel: %+v", m)
		}
		f.advance(id, messenger.Failed)
		if m := must[messenger.Message](t)(api.Resend(ctx, id)); m.State != messenger.Queued {
			t.Errorf("resend: %+v", m)
		}
		if m := must[messenger.Message](t)(api.Message(ctx, id)); m.ID != id {
			t.Errorf("message: %+v", m)
		}
		if s := must[messenger.Status](t)(api.Status(ctx)); s.Name != "fake" || len(s.Relays) != 1 || s.Relays[0].Since != epoch {
			t.Errorf("status: %+v", s)
		}
		if err := api.Remove(ctx, "rob"); err != nil {
			t.Error(err)
		}
		if all := must[[]messenger.Contact](t)(api.Contacts(ctx)); len(all) != 0 {
			t.Errorf("contacts after remove: %+v", all)
		}
	})
}

// errFar stands for an error that only the program on both sides knows.
var errFar = errors.New("far away")

func TestAPIErrors(t *testing.T) {
	all := []error{
		messenger.ErrNoContact, messenger.ErrNoMessage, messenger.ErrTaken, messenger.ErrInvitation, messenger.ErrNoRelay, messenger.ErrNoAccount, messenger.ErrNoUser, messenger.ErrDirectory, messenger.ErrCompareAgain,
		messenger.ErrState, messenger.ErrTooLong, context.Canceled, context.DeadlineExceeded, errFar,
	}
	both(t, func(t *testing.T, f *fake, api messenger.API) {
		f.add("bob")
		m := f.deliver("bob", "hi")
		ctx := t.Context()
		for name, c := range map[string]struct {
			do   func() error
			want error
			text string
		}{
			"no contact": {func() error { return api.Rename(ctx, "eve", "x") }, messenger.ErrNoContact, `"eve"; see parley contacts`},
			"history":    {func() error { _, err := api.History(ctx, "eve", 0); return err }, messenger.ErrNoContact, "no such contact"},
			"no message": {func() error { _, err := api.Message(ctx, "ffff"); return err }, messenger.ErrNoMessage, "ffff"},
			"wait":       {func() error { _, err := api.Wait(ctx, "ffff", "relay"); return err }, messenger.ErrNoMessage, "ffff"},
			"invitation": {func() error { _, err := api.Accept(ctx, messenger.AcceptOptions{Invitation: "junk"}); return err }, messenger.ErrInvitation, "junk"},
			"taken": {func() error {
				_, err := api.Accept(ctx, messenger.AcceptOptions{Invitation: "parley:", As: "bob"})
				return err
			}, messenger.ErrTaken, "bob"},
			"state":     {func() error { _, err := api.Resend(ctx, m.ID); return err }, messenger.ErrState, "received"},
			"too long":  {func() error { _, err := api.Send(ctx, "bob", strings.Repeat("x", messenger.MaxText+1)); return err }, messenger.ErrTooLong, "262145"},
			"to no one": {func() error { _, err := api.Send(ctx, "eve", "x"); return err }, messenger.ErrNoContact, "eve"},
			"far":       {func() error { _, err := api.SafetyNumber(ctx, "far"); return err }, errFar, "relay x: far away"},
			"no safety": {func() error { _, err := api.SafetyNumber(ctx, "eve"); return err }, messenger.ErrNoContact, "eve"},
			"people":    {func() error { _, err := api.People(ctx, "eve"); return err }, messenger.ErrNoContact, "eve"},
			"admit":     {func() error { _, err := api.Admit(ctx, "bob", "nobody"); return err }, messenger.ErrNoContact, "nobody"},
			"expel":     {func() error { _, err := api.Expel(ctx, "bob", "nobody"); return err }, messenger.ErrNoContact, "nobody"},
			"name":      {func() error { _, err := api.NamePerson(ctx, "bob", "nobody", "x"); return err }, messenger.ErrNoContact, "nobody"},
			"same name": {func() error {
				_, err := api.AddConversation(ctx, messenger.ConversationOptions{Name: "bob"})
				return err
			}, messenger.ErrTaken, "bob"},
			"no contact2": {func() error { _, err := api.Contact(ctx, "eve"); return err }, messenger.ErrNoContact, "eve"},
		} {
			err := c.do()
			for _, sentinel := range all {
				if errors.Is(err, sentinel) != (sentinel == c.want) {
					t.Errorf("%s: errors.Is(%v, %v) is %v", name, err, sentinel, errors.Is(err, sentinel))
				}
			}
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v lacks %q", name, err, c.text)
			}
		}
	})
}

func TestAPIWait(t *testing.T) {
	both(t, func(t *testing.T, f *fake, api messenger.API) {
		f.add("bob")
		m := must[messenger.Message](t)(api.Send(t.Context(), "bob", "x"))
		go f.advance(m.ID, messenger.AtRelay)
		if m := must[messenger.Message](t)(api.Wait(t.Context(), m.ID, messenger.AtRelay)); m.State != messenger.AtRelay {
			t.Errorf("wait: %+v", m)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := api.Wait(ctx, m.ID, messenger.Read); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 1)
		defer cancel()
		if _, err := api.Wait(ctx, m.ID, messenger.Read); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("timed out: %v", err)
		}
	})
}

func TestAPIListen(t *testing.T) {
	both(t, func(t *testing.T, f *fake, api messenger.API) {
		f.add("bob")
		f.add("eve")
		for i := range 3 {
			f.deliver("bob", fmt.Sprint(i))
		}
		other := f.deliver("eve", "not for this one")
		enough := errors.New("enough")
		var got []string
		err := api.Listen(t.Context(), "bob", func(m messenger.Message) error {
			got = append(got, m.Text)
			switch m.Text {
			case "2":
				go f.deliver("bob", "3")
			case "3":
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatalf("listen: %v", err)
		}
		if !reflect.DeepEqual(got, []string{"0", "1", "2", "3"}) {
			t.Errorf("shown: %q", got)
		}
		// What was refused comes again, what was shown does not.
		ctx, cancel := context.WithCancel(t.Context())
		got = nil
		err = api.Listen(ctx, "bob", func(m messenger.Message) error {
			got = append(got, m.Text)
			cancel()
			return nil
		})
		if !errors.Is(err, context.Canceled) || !reflect.DeepEqual(got, []string{"3"}) {
			t.Errorf("listened again: %q, %v", got, err)
		}
		// It was shown, although the listener ended meanwhile.
		if m, err := f.Wait(t.Context(), f.messages[4].ID, messenger.Shown); err != nil || m.Text != "3" {
			t.Errorf("%+v, %v", m, err)
		}
		if m, _ := f.Message(t.Context(), other.ID); m.State != messenger.Received {
			t.Errorf("a message of another contact is %s", m.State)
		}
	})
}

func TestAPIWatch(t *testing.T) {
	both(t, func(t *testing.T, f *fake, api messenger.API) {
		f.add("bob")
		enough := errors.New("enough")
		var got []string
		started := make(chan struct{})
		go func() {
			<-started
			f.deliver("bob", "hello")
			f.add("eve")
		}()
		go func() { // a watch has begun when the API has a watcher
			for {
				f.mu.Lock()
				n := len(f.watchers)
				f.mu.Unlock()
				if n > 0 {
					close(started)
					return
				}
				if t.Context().Err() != nil {
					return
				}
			}
		}()
		err := api.Watch(t.Context(), func(c messenger.Change) error {
			switch {
			case c.Message != nil:
				got = append(got, c.Message.Text)
			case c.Contact != nil:
				got = append(got, c.Contact.Name)
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || !reflect.DeepEqual(got, []string{"hello", "eve"}) {
			t.Errorf("watched %q, %v", got, err)
		}
	})
}
