package messenger

import (
	"parley"
)

// States of a line.
const (
	invited    = "invited"    // inviter: the invitation is out
	claiming   = "claiming"   // acceptor: making mailboxes, nothing is sent
	connecting = "connecting" // acceptor: the answer is in the outbox or beyond
	connected  = "connected"
	retired    = "retired" // replaced by a newer line
)

// States of an in-path: a mailbox of ours.
const (
	want    = "want"   // to be made
	opened  = "open"   // takes packets from anyone who knows its address
	binding = "secure" // we know whose alone it is to be, the relay not yet
	closed  = "closed" // takes packets from the peer alone
	gone    = "delete" // to be deleted at the relay
)

// States of an out-path: a mailbox of the peer's.
const (
	joining    = "join"    // we have its address only
	confirming = "confirm" // its first packet has to go by Confirm
	ready      = "ready"
	dead       = "dead" // refused for good
)

const (
	inviter  = "inviter"
	acceptor = "acceptor"
)

// A line is one row of lines, and whose it is.
type line struct {
	id, device, contact int64
	stp                 parley.STP
	bare, oneway        bool
	shared              bool   // many read and write its one mailbox
	account             int64  // whose mailbox it is received by; 0: one of its own
	peer                string // the contact's name there
	role, state         string
	offer               []byte
}

func (t *tx) line(id int64) (line, error) {
	l := line{id: id}
	var typ, version int
	err := t.row(`SELECT l.device, coalesce(d.contact, 0), l.stp_type, l.stp_version, l.bare, l.oneway, l.shared, coalesce(l.account, 0), l.peer, l.role, l.state, l.offer
		FROM lines l JOIN devices d ON d.id = l.device WHERE l.id = ?`, id)(
		&l.device, &l.contact, &typ, &version, &l.bare, &l.oneway, &l.shared, &l.account, &l.peer, &l.role, &l.state, &l.offer)
	l.stp = stpOf(typ, version)
	return l, err
}

func (t *tx) setLine(l *line, state string) error {
	l.state = state
	t.contactChanged(l.contact)
	return t.exec("UPDATE lines SET state = ? WHERE id = ?", state, l.id)
}

// speak returns the line's transport and what it may know. Names are the roles:
// the same on both sides, and no renaming touches them.
func (t *tx) speak(l line) (parley.SecureTransport, *parley.Conversation, error) {
	p, err := t.m.transport(l.stp)
	if err != nil {
		return nil, nil, err
	}
	peer := parley.Name(inviter)
	if l.role == inviter {
		peer = acceptor
	}
	bucket, err := t.Bucket(l.id)
	if err != nil {
		return nil, nil, err
	}
	c := &parley.Conversation{
		STP: l.stp, Self: parley.Name(l.role), Peers: []parley.Name{peer},
		State: bucket, Now: t.now(), Bare: l.bare,
	}
	if l.shared {
		c.Self, c.Peers = "", nil // the transport keeps its members itself
	}
	switch {
	case l.account != 0:
		err = t.asAccount(l, c)
	case l.isPad():
		t.withPad(l, c)
	}
	return p, c, err
}

// asAccount lets a transport know who both are in an older system, and their keys.
func (t *tx) asAccount(l line, c *parley.Conversation) error {
	a, state, err := t.accountState(l.account)
	if err != nil {
		return err
	}
	c.Self, c.Peers, c.Keys = parley.Name(a.name), []parley.Name{parley.Name(l.peer)}, a.system.Keyring(state)
	return nil
}

// current returns the line that reaches a device now: the connected one, else
// the newest that may become so.
func (t *tx) current(device int64) (line, error) {
	var id int64
	err := t.row(`SELECT id FROM lines WHERE device = ? AND state <> 'retired'
		ORDER BY state = 'connected' DESC, id DESC LIMIT 1`, device)(&id)
	if err != nil {
		return line{}, err
	}
	return t.line(id)
}

// targets returns the lines that a message to the contact goes out on: one for
// each device.
func (t *tx) targets(contact int64) ([]line, error) {
	devices, err := t.ids("SELECT id FROM devices WHERE contact = ? ORDER BY id", contact)
	if err != nil {
		return nil, err
	}
	var all []line
	for _, d := range devices {
		l, err := t.current(d)
		if isNone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// A path is one row of paths.
type path struct {
	id, line    int64
	dir, scheme string
	relay       parley.Address
	end         parley.Endpoint
	bind        []byte
	state, why  string
}

const pathColumns = "id, coalesce(line, 0), dir, scheme, relay, address, secret, mark, max, bind, state, why"

func scanPath(scan func(...any) error) (path, error) {
	var p path
	err := scan(&p.id, &p.line, &p.dir, &p.scheme, &p.relay, &p.end.Address, &p.end.Secret, &p.end.Mark, &p.end.Max, &p.bind, &p.state, &p.why)
	return p, err
}

func (t *tx) path(id int64) (path, error) {
	return scanPath(t.row("SELECT "+pathColumns+" FROM paths WHERE id = ?", id))
}

// paths returns those that match a condition on the table, oldest first.
func (t *tx) paths(where string, args ...any) ([]path, error) {
	var all []path
	err := t.each("SELECT "+pathColumns+" FROM paths WHERE "+where+" ORDER BY id", args, func(scan func(...any) error) error {
		p, err := scanPath(scan)
		all = append(all, p)
		return err
	})
	return all, err
}

func (t *tx) addPath(line int64, dir, state string, at parley.Address, end parley.Endpoint) error {
	scheme, relay := t.m.relayOf(at)
	address := end.Address
	if address == "" {
		address = at
	}
	_, err := t.insert(`INSERT INTO paths (line, dir, scheme, relay, address, secret, mark, max, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		line, dir, scheme, relay, address, end.Secret, end.Mark, end.Max, state)
	return err
}
