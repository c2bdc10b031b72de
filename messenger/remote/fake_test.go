package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"parley/messenger"
)

// fake is a messenger in memory, for the tests of the wire: what it answers is
// simple, what it reports and when is as messenger.API says.
type fake struct {
	mu           sync.Mutex
	contacts     []messenger.Contact
	messages     []messenger.Message
	watchers     map[chan messenger.Change]bool
	moved        chan struct{}                 // closed and replaced at each change
	conversation messenger.ConversationOptions // the last one that was added
	accounts     []messenger.Account
	account      messenger.AccountOptions // the last that was added
	peer         messenger.PeerOptions    // likewise
	pad          messenger.PadOptions     // likewise
	circles      []messenger.Circle
	held         chan struct{} // Invite waits for it, if set
	closed       bool
}

func newFake() *fake {
	return &fake{watchers: make(map[chan messenger.Change]bool), moved: make(chan struct{})}
}

func (f *fake) AddAccount(_ context.Context, o messenger.AccountOptions) (messenger.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.account = o
	f.accounts = append(f.accounts, messenger.Account{Kind: o.Kind, Name: o.Name, Server: o.Server, State: "connecting", Fingerprint: []string{"00 11"}})
	return f.accounts[len(f.accounts)-1], nil
}

func (f *fake) AddPad(_ context.Context, o messenger.PadOptions) (messenger.Contact, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pad = o
	c := messenger.Contact{Name: o.As, Promises: []string{}, Lacks: []string{}, Relays: []string{o.Relay}, Pad: &messenger.Pad{Version: 2, Left: 1 << 40}}
	f.contacts = append(f.contacts, c)
	return c, nil
}

func (f *fake) GrantPad(_ context.Context, name string, size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.contacts {
		if f.contacts[i].Name == name {
			f.contacts[i].Pad.Left -= size
			return nil
		}
	}
	return fmt.Errorf("%w: %q", messenger.ErrNoContact, name)
}

func (f *fake) SetCircle(_ context.Context, name string, members []string) (messenger.Circle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := messenger.Circle{Name: name, Members: members}
	f.circles = append(f.circles, c)
	return c, nil
}

func (f *fake) Circles(context.Context) ([]messenger.Circle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.circles), nil
}

func (f *fake) SendAll(ctx context.Context, circle, text string) (all []messenger.Message, err error) {
	circles, _ := f.Circles(ctx)
	for _, c := range circles {
		for _, member := range c.Members {
			m, err := f.Send(ctx, member, text)
			if err != nil || c.Name != circle {
				return nil, err
			}
			all = append(all, m)
		}
	}
	return all, nil
}

func (f *fake) Accounts(context.Context) ([]messenger.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.accounts), nil
}

// of finds an account.
func (f *fake) of(kind, name string) (*messenger.Account, error) {
	for i := range f.accounts {
		if a := &f.accounts[i]; a.Kind == kind && a.Name == name {
			return a, nil
		}
	}
	return &messenger.Account{}, fmt.Errorf("%w: %q", messenger.ErrNoAccount, name)
}

func (f *fake) Register(_ context.Context, kind, name, contact string) (messenger.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.of(kind, name)
	switch {
	case err != nil:
	case contact == "nobody":
		err = fmt.Errorf("%w: %s", messenger.ErrNoUser, contact)
	case contact == "":
		err = fmt.Errorf("%w refuses: email validation error", messenger.ErrDirectory)
	default:
		a.Registered = true
	}
	return *a, err
}

func (f *fake) RotateAccount(_ context.Context, kind, name string, setup []byte) (messenger.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.of(kind, name)
	a.Fingerprint = []string{fmt.Sprintf("%x", setup)}
	return *a, err
}

func (f *fake) RemoveAccount(_ context.Context, kind, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.of(kind, name)
	if err == nil {
		f.accounts = slices.DeleteFunc(f.accounts, func(a messenger.Account) bool { return a.Kind == kind && a.Name == name })
	}
	return err
}

func (f *fake) SetPresence(_ context.Context, kind, name string, on bool) (messenger.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.of(kind, name)
	a.Presence = on
	return *a, err
}

func (f *fake) AddPeer(_ context.Context, o messenger.PeerOptions) (messenger.Contact, error) {
	f.add(o.As)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peer = o
	c := &f.contacts[len(f.contacts)-1]
	c.Account, c.User, c.Protocol, c.Presence, c.Seen = o.Account, o.User, o.Kind, "online", epoch
	return *c, nil
}

func (f *fake) changed(c messenger.Change) {
	close(f.moved)
	f.moved = make(chan struct{})
	for w := range f.watchers {
		w <- c
	}
}

func (f *fake) find(name string) (int, error) {
	i := slices.IndexFunc(f.contacts, func(c messenger.Contact) bool { return c.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("%w: %q; see parley contacts", messenger.ErrNoContact, name)
	}
	return i, nil
}

func (f *fake) at(id string) (int, error) {
	i := slices.IndexFunc(f.messages, func(m messenger.Message) bool { return strings.HasPrefix(m.ID, id) })
	if i < 0 || len(id) < 4 {
		return 0, fmt.Errorf("%w: %q", messenger.ErrNoMessage, id)
	}
	return i, nil
}

func (f *fake) add(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := messenger.Contact{Name: name, State: "connected", Protocol: "ratchet", Promises: []string{"authentic"}, Lacks: []string{}, Relays: []string{"smp2020://k@h:1"}, Created: epoch}
	f.contacts = append(f.contacts, c)
	f.changed(messenger.Change{Contact: &c})
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

func (f *fake) put(contact, direction, text string, s messenger.State) messenger.Message {
	n := int64(len(f.messages) + 1)
	m := messenger.Message{ID: fmt.Sprintf("%032x", 0xabcd0000+n), Contact: contact, Direction: direction, Kind: "text", Text: text, Sent: epoch, State: s, Seq: n}
	f.messages = append(f.messages, m)
	f.changed(messenger.Change{Message: &m})
	return m
}

func (f *fake) deliver(contact, text string) messenger.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.put(contact, "in", text, messenger.Received)
}

func (f *fake) advance(id string, s messenger.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, _ := f.at(id)
	f.messages[i].State = s
	m := f.messages[i]
	f.changed(messenger.Change{Message: &m})
}

func (f *fake) Invite(ctx context.Context, o messenger.InviteOptions) (messenger.Invitation, error) {
	if f.held != nil {
		select {
		case <-f.held:
		case <-ctx.Done():
			return messenger.Invitation{}, ctx.Err()
		}
	}
	if o.As == "" {
		o.As = "somebody"
	}
	return messenger.Invitation{Text: "parley:" + strings.Join(o.Relays, ","), Contact: o.As, Bare: o.Bare}, nil
}

func (f *fake) Accept(_ context.Context, o messenger.AcceptOptions) (messenger.Contact, error) {
	if !strings.HasPrefix(o.Invitation, "parley:") {
		return messenger.Contact{}, fmt.Errorf("%w: it starts with %.10q", messenger.ErrInvitation, o.Invitation)
	}
	f.mu.Lock()
	_, err := f.find(o.As)
	f.mu.Unlock()
	if err == nil {
		return messenger.Contact{}, fmt.Errorf("%w: %q", messenger.ErrTaken, o.As)
	}
	f.add(o.As)
	return f.Contact(context.Background(), o.As)
}

func (f *fake) AddConversation(_ context.Context, o messenger.ConversationOptions) (messenger.Contact, error) {
	f.mu.Lock()
	f.conversation = o
	_, err := f.find(o.Name)
	f.mu.Unlock()
	if err == nil {
		return messenger.Contact{}, fmt.Errorf("%w: %q", messenger.ErrTaken, o.Name)
	}
	f.add(o.Name)
	return f.Contact(context.Background(), o.Name)
}

func (f *fake) person(contact, state string) messenger.Person {
	return messenger.Person{Contact: contact, ID: "0a0b" + strings.Repeat("0", 28), Key: "a2V5", Words: []string{"one", "two"}, Digits: "12", State: state, Since: epoch}
}

func (f *fake) People(_ context.Context, name string) ([]messenger.Person, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(name); err != nil {
		return nil, err
	}
	return []messenger.Person{{Contact: name, State: "self"}, f.person(name, "asks")}, nil
}

func (f *fake) someone(name, person, state, as string) (messenger.Person, error) {
	all, err := f.People(context.Background(), name)
	if err != nil {
		return messenger.Person{}, err
	}
	if !strings.HasPrefix(all[1].ID, person) {
		return messenger.Person{}, fmt.Errorf("%w: %q", messenger.ErrNoContact, person)
	}
	all[1].State, all[1].Name = state, as
	return all[1], nil
}

func (f *fake) Admit(_ context.Context, name, person string) (messenger.Person, error) {
	return f.someone(name, person, "member", "")
}

func (f *fake) Expel(_ context.Context, name, person string) (messenger.Person, error) {
	return f.someone(name, person, "expelled", "")
}

func (f *fake) NamePerson(_ context.Context, name, person, as string) (messenger.Person, error) {
	return f.someone(name, person, "member", as)
}

func (f *fake) Contacts(context.Context) ([]messenger.Contact, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.contacts), nil
}

func (f *fake) Contact(_ context.Context, name string) (messenger.Contact, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.find(name)
	if err != nil {
		return messenger.Contact{}, err
	}
	return f.contacts[i], nil
}

func (f *fake) edit(name string, do func(c *messenger.Contact)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.find(name)
	if err == nil {
		do(&f.contacts[i])
	}
	return err
}

func (f *fake) Rename(_ context.Context, name, to string) error {
	return f.edit(name, func(c *messenger.Contact) { c.Name = to })
}

func (f *fake) SetReceipts(_ context.Context, name, level string) error {
	return f.edit(name, func(c *messenger.Contact) { c.Receipts = level })
}

func (f *fake) SetVerified(_ context.Context, n messenger.SafetyNumber, v bool) error {
	if v && n.ID != "0a0b" {
		return messenger.ErrCompareAgain
	}
	return f.edit(n.Contact, func(c *messenger.Contact) { c.Verified = v })
}

func (f *fake) Remove(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.find(name)
	if err == nil {
		f.contacts = slices.Delete(f.contacts, i, i+1)
	}
	return err
}

func (f *fake) SafetyNumber(ctx context.Context, name string) (messenger.SafetyNumber, error) {
	if name == "far" {
		return messenger.SafetyNumber{}, fmt.Errorf("relay x: %w", errFar)
	}
	c, err := f.Contact(ctx, name)
	if err != nil {
		return messenger.SafetyNumber{}, err
	}
	return messenger.SafetyNumber{Contact: name, Words: []string{"one", "two"}, Digits: "12345", ID: "0a0b", QR: "PARLEY-SAFETY", Verified: c.Verified}, nil
}

func (f *fake) Send(_ context.Context, contact, text string) (messenger.Message, error) {
	if len(text) > messenger.MaxText {
		return messenger.Message{}, fmt.Errorf("%w: %d", messenger.ErrTooLong, len(text))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(contact); err != nil {
		return messenger.Message{}, err
	}
	return f.put(contact, "out", text, messenger.Queued), nil
}

func (f *fake) Wait(ctx context.Context, id string, until messenger.State) (messenger.Message, error) {
	for {
		f.mu.Lock()
		i, err := f.at(id)
		if err != nil {
			f.mu.Unlock()
			return messenger.Message{}, err
		}
		m, moved := f.messages[i], f.moved
		f.mu.Unlock()
		if m.State == until || m.State == messenger.Failed {
			return m, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
}

func (f *fake) Message(_ context.Context, id string) (messenger.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.at(id)
	if err != nil {
		return messenger.Message{}, err
	}
	return f.messages[i], nil
}

func (f *fake) Listen(ctx context.Context, contact string, show func(messenger.Message) error) error {
	for {
		f.mu.Lock()
		moved := f.moved
		i := slices.IndexFunc(f.messages, func(m messenger.Message) bool {
			return m.State == messenger.Received && (contact == "" || m.Contact == contact)
		})
		var m messenger.Message
		if i >= 0 {
			m = f.messages[i]
		}
		f.mu.Unlock()
		if i >= 0 {
			if err := show(m); err != nil {
				return err
			}
			f.advance(m.ID, messenger.Shown)
			continue
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fake) Watch(ctx context.Context, changed func(messenger.Change) error) error {
	w := make(chan messenger.Change, 10_000)
	f.mu.Lock()
	f.watchers[w] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, w)
		f.mu.Unlock()
	}()
	for {
		select {
		case c := <-w:
			if err := changed(c); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fake) History(_ context.Context, contact string, limit int) ([]messenger.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(contact); err != nil {
		return nil, err
	}
	all := slices.Clone(f.messages)
	if limit > 0 && len(all) > limit {
		all = all[len(all)-limit:]
	}
	return all, nil
}

func (f *fake) move(id string, from, to messenger.State) (messenger.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := f.at(id)
	if err != nil {
		return messenger.Message{}, err
	}
	if f.messages[i].State != from {
		return messenger.Message{}, fmt.Errorf("%w: it is %s", messenger.ErrState, f.messages[i].State)
	}
	f.messages[i].State = to
	return f.messages[i], nil
}

func (f *fake) Resend(_ context.Context, id string) (messenger.Message, error) {
	return f.move(id, messenger.Failed, messenger.Queued)
}

func (f *fake) Cancel(_ context.Context, id string) (messenger.Message, error) {
	return f.move(id, messenger.Queued, messenger.Canceled)
}

func (f *fake) Queue(context.Context) ([]messenger.QueueEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var q []messenger.QueueEntry
	for _, m := range f.messages {
		if m.State == messenger.Queued {
			q = append(q, messenger.QueueEntry{Message: m.ID, Contact: m.Contact, State: "waiting", Tries: 2, NextTry: epoch})
		}
	}
	return q, nil
}

func (f *fake) Status(context.Context) (messenger.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return messenger.Status{Name: "fake", Contacts: len(f.contacts), Relays: []messenger.RelayStatus{{Address: "smp2020://k@h:1", Connected: true, Since: epoch}}}, nil
}

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
