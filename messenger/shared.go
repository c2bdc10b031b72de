package messenger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"parley"
)

// A conversation of many is one line whose one mailbox, a topic, everybody reads
// and writes. Its transport keeps the members (a [parley.Grouper]); nothing is
// paired. Each step is a commit, and after a crash goes on from there:
//
//  1. AddConversation: contact, line, the transport's state, and both ends of
//     the topic (claiming)
//  2. the topic is received from (claim.go)
//  3. with a key: connected. Without: connecting, and an introduction goes out
//     until somebody answers it (asking.go)
//
// What others ask and what the user decides is in asking.go and people.go.

// maxSetup is the longest setup of a transport, in bytes.
const maxSetup = 64 << 10

// Groups tells what a transport with many members knows of itself on a line.
type Groups interface {
	// Group reads the state of a line.
	Group(c *parley.Conversation) (Group, error)
	// Asker returns who made an introduction, whose signature it verifies.
	Asker(packet []byte) (Member, error)
	// Distrust takes no more messages of a member, on our side only: for modes that
	// cannot remove it for everybody.
	Distrust(c *parley.Conversation, id parley.Name) error
	// Change names a public key, as the transport's Change takes it.
	Change(key []byte) parley.Name
	// Refusal puts into words why an answer to our introduction was not taken, if
	// the error is about that and the user can do something; else it is "".
	Refusal(err error) string
}

// A Group is what a transport says of the group behind a line.
type Group struct {
	Self     Member
	Members  []Member         // without ourselves
	Ready    bool             // we have a key to write with
	Asks     bool             // others write under one that we lack
	Removed  bool             // somebody has removed us
	Mode     string           // the transport's own word for how it protects
	Promises parley.Guarantee // in that mode
	Lacks    []string         // what people should know besides
}

// A Member is one key of a group.
type Member struct {
	ID      parley.Name
	Key     []byte      // public
	Number  []byte      // what people compare, made of the key
	Trusted bool        // its messages are taken
	By      parley.Name // who vouched for it; empty: we decided
	Since   time.Time
}

// has reports whether that ID is trusted.
func (g *Group) has(id parley.Name) bool {
	for _, m := range g.Members {
		if m.ID == id {
			return m.Trusted
		}
	}
	return false
}

// group returns the transport, the conversation and the group of a shared line.
func (t *tx) group(l line) (parley.Introducer, *parley.Conversation, Group, error) {
	p, c, err := t.speak(l)
	if err != nil {
		return nil, nil, Group{}, err
	}
	i, ok := p.(parley.Introducer)
	if !ok || t.m.o.Groups == nil {
		return nil, nil, Group{}, fmt.Errorf("%w %d for groups", errNoTransport, l.stp.Type)
	}
	g, err := t.m.o.Groups.Group(c)
	return i, c, g, err
}

// AddConversation makes a conversation of many at a topic. When it returns, it is
// on disk and goes on by itself, also when the broker cannot be reached right now.
func (m *Messenger) AddConversation(ctx context.Context, o ConversationOptions) (c Contact, err error) {
	name, err := ownName(o.Name)
	if err != nil {
		return c, err
	}
	if len(o.Setup) == 0 || len(o.Setup) > maxSetup {
		return c, fmt.Errorf("%w: the setup has %d bytes, not 1 to %d", ErrState, len(o.Setup), maxSetup)
	}
	p, err := m.transport(o.STP)
	if err != nil {
		return c, err
	}
	if _, ok := p.(parley.Introducer); !ok || m.o.Groups == nil {
		return c, fmt.Errorf("%w: secure transport %d has no groups", ErrState, o.STP.Type)
	}
	topic, err := m.joinTopic(ctx, o)
	if err != nil {
		return c, err
	}
	var id, contact int64
	err = m.tx(ctx, "add conversation", func(t *tx) (err error) {
		id, contact, err = t.addConversation(name, o, topic)
		return err
	})
	if err != nil {
		return c, err
	}
	err = m.claimNow(ctx, id)
	switch {
	case err == nil, errors.Is(err, parley.ErrOffline):
	case ctx.Err() != nil:
		return c, ctx.Err()
	case errors.Is(err, parley.ErrRefused), errors.Is(err, parley.ErrDenied):
		if undo := m.undoAccept(ctx, id, contact, true); undo != nil {
			return c, errors.Join(err, undo)
		}
		return c, err
	default:
		m.log.Info("messenger: a conversation goes on later", "line", id, "error", err)
	}
	return m.Contact(ctx, name)
}

// joinTopic makes the sending end, which needs no broker.
func (m *Messenger) joinTopic(ctx context.Context, o ConversationOptions) (parley.Endpoint, error) {
	scheme, _, ok := strings.Cut(o.Address, "://")
	if !ok {
		return parley.Endpoint{}, fmt.Errorf("%w: a topic's address begins with its scheme, such as mqtt://", ErrNoRelay)
	}
	carrier, err := m.carrier(scheme)
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("%w: %w", ErrNoRelay, err)
	}
	if _, binder := carrier.(parley.Binder); binder {
		return parley.Endpoint{}, fmt.Errorf("%w: a mailbox at a %s: address belongs to one sender, and a topic to many", ErrState, scheme)
	}
	return carrier.Join(ctx, parley.Address(o.Address))
}

// addConversation is step 1.
func (t *tx) addConversation(name string, o ConversationOptions, topic parley.Endpoint) (id, contact int64, err error) {
	if taken, err := t.taken(name, 0); err != nil || taken {
		if err == nil {
			err = fmt.Errorf("%w: %q", ErrTaken, name)
		}
		return 0, 0, err
	}
	contact, device, err := t.newContact(name)
	if err != nil {
		return 0, 0, err
	}
	if err := t.noSuchTopic(topic); err != nil {
		return 0, 0, err
	}
	if err := t.exec("UPDATE contacts SET receipts = 'none' WHERE id = ?", contact); err != nil {
		return 0, 0, err
	}
	if id, err = t.newLine(device, o.STP, o.Bare, acceptor, claiming, nil); err != nil {
		return 0, 0, err
	}
	if err := t.exec("UPDATE lines SET shared = 1 WHERE id = ?", id); err != nil {
		return 0, 0, err
	}
	if err := t.addPath(id, "out", ready, topic.Address, topic); err != nil {
		return 0, 0, err
	}
	// Until it is claimed, how to log in waits where no address is ever shown.
	in := parley.Endpoint{Address: topic.Address, Secret: []byte(o.Address)}
	if err := t.addPath(id, "in", want, topic.Address, in); err != nil {
		return 0, 0, err
	}
	l, err := t.line(id)
	if err != nil {
		return 0, 0, err
	}
	p, c, err := t.speak(l)
	if err != nil {
		return 0, 0, err
	}
	err = p.(parley.Introducer).Accept(t.ctx, c, &parley.Introduction{Kind: parley.Offer, Payload: o.Setup})
	if err != nil {
		return 0, 0, fmt.Errorf("%w: the conversation cannot be set up: %v", ErrState, err)
	}
	return id, contact, t.bucket(c).Flush()
}

// noSuchTopic refuses a topic that is a conversation already: the two would take each
// other's packets for a stranger's. Whoever was removed comes back by a new one.
func (t *tx) noSuchTopic(topic parley.Endpoint) error {
	ids, err := t.ids("SELECT l.id FROM lines l JOIN paths p ON p.line = l.id WHERE l.shared AND l.state <> 'retired' AND p.dir = 'out' AND p.address = ?",
		string(topic.Address))
	if err != nil {
		return err
	}
	for _, id := range ids {
		l, err := t.line(id)
		if err != nil {
			return err
		}
		if _, _, g, err := t.group(l); err != nil || g.Removed {
			continue // it cannot be used any more
		}
		var name string
		if err := t.row("SELECT name FROM contacts WHERE id = ?", l.contact)(&name); err != nil {
			return err
		}
		return fmt.Errorf("%w: this topic is the conversation %q already; a second device needs a profile of its own", ErrTaken, name)
	}
	return nil
}

// topicWhy puts a carrier's error at a topic into words for the user.
func topicWhy(err error) string {
	switch {
	case errors.Is(err, parley.ErrOffline):
		return "the broker cannot be reached"
	case errors.Is(err, parley.ErrFull):
		return "the broker takes nothing for now"
	}
	return err.Error()
}

// claimAddress is where a mailbox that is wanted is to be made.
func (p path) claimAddress() parley.Address {
	if len(p.end.Secret) > 0 {
		return parley.Address(p.end.Secret)
	}
	return p.end.Address
}

// enter is step 3.
func (t *tx) enter(l line) error {
	_, _, g, err := t.group(l)
	if err != nil {
		return err
	}
	if g.Ready {
		return t.connectGroup(l)
	}
	t.then(func() { t.m.ask(l.id) })
	return t.setLine(&l, connecting)
}

func (t *tx) connectGroup(l line) error {
	t.poke(workSeal | workEars)
	t.then(func() { t.m.unblock(l.id) })
	return t.setLine(&l, connected)
}

// isGroup reports whether a contact is a conversation of many.
func (t *tx) isGroup(contact int64) (yes bool, err error) {
	err = t.row("SELECT EXISTS (SELECT 1 FROM lines l JOIN devices d ON d.id = l.device WHERE d.contact = ? AND l.shared)", contact)(&yes)
	return yes, err
}

// Nothing is sealed on a shared line before what its broker has kept for us has
// come: it may be a new key, without somebody who was removed. We take it that all
// has come after settlePause of silence since we are connected, or settleLimit.
const (
	settlePause = 300 * time.Millisecond
	settleLimit = 30 * time.Second
	// settleLook is when to look again at a line without a connection, should nobody
	// tell that there is one.
	settleLook = 5 * time.Minute
)

// settles returns when the line may be looked at again and why it has to wait, or
// zero if it may seal now.
func (m *Messenger) settles(id int64) (due time.Time, why string, err error) {
	if m.o.Events == nil { // nobody tells when we are connected
		return due, "", nil
	}
	var shared bool
	var relay parley.Address
	err = m.tx(m.ctx, "seal: settled", func(t *tx) error {
		err := t.row("SELECT shared, coalesce((SELECT relay FROM paths WHERE line = lines.id AND dir = 'in' ORDER BY id LIMIT 1), '') FROM lines WHERE id = ?", id)(&shared, &relay)
		if isNone(err) {
			return nil
		}
		return err
	})
	if err != nil || !shared {
		return due, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now, l := m.now(), m.relays[relay]
	if l == nil || !l.connected {
		return now.Add(settleLook), "the broker is not reached: a newer topic key may wait there", nil
	}
	quiet := l.since
	if at := m.came[id]; at.After(quiet) {
		quiet = at
	}
	if due = quiet.Add(settlePause); due.After(now) && l.since.Add(settleLimit).After(now) {
		return due, "what the broker has kept is taken in first", nil
	}
	return time.Time{}, "", nil
}
