package messenger

import (
	"context"
	"errors"
	"fmt"

	"parley"
	"parley/messenger/profile"
)

// An account is a line of ours without a contact, whose one mailbox receives for
// all: its state holds our keys and those of others. A contact there is a line that
// names the account and the peer, and has only a way out. Steps, each a commit:
//
//  1. AddAccount: account, its line, keys (claiming)
//  2. its mailbox is made (claim.go); the line's state is "account" then
//  3. AddPeer: contact, line and way out; keys are looked up (lookup.go)
//  4. what comes to the account's mailbox is given to the line of whom it claims to
//     be from (sorting.go), whose transport proves it

// accountRole is the role of an account's own line, accountReady its state once it
// has a mailbox.
const (
	accountRole  = "account"
	accountReady = "account"
)

// maxAccounts is how many accounts a profile may have.
const maxAccounts = 16

// An account is one row of accounts.
type account struct {
	id, line   int64
	kind, name string
	server     parley.Address
	presence   bool
	system     System
}

func (t *tx) account(id int64) (a account, err error) {
	a.id = id
	err = t.row("SELECT line, kind, name, server, presence FROM accounts WHERE id = ?", id)(&a.line, &a.kind, &a.name, &a.server, &a.presence)
	if err == nil {
		if a.system = t.m.o.Systems[a.kind]; a.system == nil {
			err = fmt.Errorf("%w: accounts of kind %q", errNoTransport, a.kind)
		}
	}
	return a, err
}

// accountState returns an account with what its system remembers.
func (t *tx) accountState(id int64) (account, *profile.Bucket, error) {
	a, err := t.account(id)
	if err != nil {
		return a, nil, err
	}
	b, err := t.Bucket(a.line)
	return a, b, err
}

// findAccount returns the account of that kind and name; without a name, the only one.
func (t *tx) findAccount(kind, name string) (account, error) {
	ids, err := t.ids("SELECT id FROM accounts WHERE (kind = ?1 OR ?1 = '') AND (name = ?2 OR ?2 = '') ORDER BY id", kind, name)
	if err != nil {
		return account{}, err
	}
	switch {
	case len(ids) == 1:
		return t.account(ids[0])
	case len(ids) > 1:
		return account{}, fmt.Errorf("%w: you have several such accounts: say which one (parley account list)", ErrState)
	case name != "":
		return account{}, fmt.Errorf("%w: you have no account %q: parley account list shows yours", ErrNoAccount, name)
	}
	return account{}, fmt.Errorf("%w: make one first: parley account add %s", ErrNoAccount, kind)
}

var (
	// ErrNoAccount means that there is no such account of ours.
	ErrNoAccount = errors.New("no such account")
	// ErrNoUser means that a directory knows no such user.
	ErrNoUser = errors.New("the directory knows no such user")
	// ErrNotTaken and ErrNotAsked are of [System.Rotate].
	ErrNotTaken = errors.New("the directory does not take the new keys")
	ErrNotAsked = errors.New("the directory was not asked")
	// ErrDirectory means that a directory's answer was refused, or refuses us.
	ErrDirectory = errors.New("the directory")
)

// AddAccount makes an account. When it returns, the account is on disk, and its
// mailbox is made as soon as the server can be reached.
func (m *Messenger) AddAccount(ctx context.Context, o AccountOptions) (a Account, err error) {
	system := m.o.Systems[o.Kind]
	if system == nil {
		return a, fmt.Errorf("%w: this build knows no accounts of kind %q", ErrState, o.Kind)
	}
	if len(o.Setup) > maxSetup {
		return a, fmt.Errorf("%w: the setup has %d bytes, at most %d", ErrState, len(o.Setup), maxSetup)
	}
	at, err := system.Mailbox(parley.Address(o.Server), o.Name)
	if err != nil {
		return a, err
	}
	scheme, relay := m.relayOf(at)
	if _, err := m.carrier(scheme); err != nil {
		return a, err
	}
	var line int64
	err = m.tx(ctx, "add account", func(t *tx) error {
		var n int
		if err := t.row("SELECT count(*) FROM accounts WHERE kind = ? AND name = ?", o.Kind, o.Name)(&n); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%w: you have an account %q already; a second one under that name needs a profile of its own", ErrTaken, o.Name)
		}
		if err := t.row("SELECT count(*) FROM accounts")(&n); err != nil {
			return err
		}
		if n >= maxAccounts {
			return fmt.Errorf("%w: at most %d accounts", ErrState, maxAccounts)
		}
		device, err := t.insert("INSERT INTO devices (contact) VALUES (NULL)")
		if err != nil {
			return err
		}
		if line, err = t.newLine(device, system.STP(), true, accountRole, claiming, nil); err != nil {
			return err
		}
		// Until the mailbox is made, how to log in waits where no address is shown.
		end := parley.Endpoint{Address: relay, Secret: []byte(at)}
		if err := t.addPath(line, "in", want, at, end); err != nil {
			return err
		}
		_, err = t.insert("INSERT INTO accounts (kind, name, server, line, created) VALUES (?, ?, ?, ?, ?)", o.Kind, o.Name, o.Server, line, t.stampNow())
		if err != nil {
			return err
		}
		b, err := t.Bucket(line)
		if err != nil {
			return err
		}
		if err := system.SetUp(b, o.Name, o.Setup); err != nil {
			return err
		}
		t.poke(workJobs)
		return b.Flush()
	})
	if err != nil {
		return a, err
	}
	switch err = m.claimNow(ctx, line); {
	case err == nil, errors.Is(err, parley.ErrOffline):
	case ctx.Err() != nil:
		return a, ctx.Err()
	case errors.Is(err, parley.ErrRefused), errors.Is(err, parley.ErrDenied):
		return a, errors.Join(err, m.RemoveAccount(settled(ctx), o.Kind, o.Name))
	default:
		m.log.Info("messenger: an account goes on later", "line", line, "error", err)
	}
	return m.oneAccount(ctx, o.Kind, o.Name)
}

func (m *Messenger) oneAccount(ctx context.Context, kind, name string) (a Account, err error) {
	err = m.tx(ctx, "account", func(t *tx) error {
		row, err := t.findAccount(kind, name)
		if err == nil {
			a, err = t.describeAccount(row)
		}
		return err
	})
	return a, err
}

// Accounts lists our accounts, the oldest first.
func (m *Messenger) Accounts(ctx context.Context) (all []Account, err error) {
	err = m.tx(ctx, "accounts", func(t *tx) error {
		all = []Account{}
		ids, err := t.ids("SELECT id FROM accounts ORDER BY id")
		if err != nil {
			return err
		}
		for _, id := range ids {
			row, err := t.account(id)
			if err != nil {
				return err
			}
			a, err := t.describeAccount(row)
			if err != nil {
				return err
			}
			all = append(all, a)
		}
		return nil
	})
	return all, err
}

func (t *tx) describeAccount(row account) (a Account, err error) {
	at, err := row.system.Mailbox(row.server, row.name) // of which a relay's address can be told without a password
	if err != nil {
		return a, err
	}
	_, relay := t.m.relayOf(at)
	a = Account{Kind: row.kind, Name: row.name, Server: string(relay), State: connecting, Presence: row.presence}
	l, err := t.line(row.line)
	if err != nil {
		return a, err
	}
	if l.state == accountReady {
		a.State = connected
	}
	err = t.row(`SELECT (SELECT count(*) FROM lines WHERE account = ?1 AND state <> 'retired'), (SELECT count(*) FROM inbox WHERE line = ?2),
		coalesce((SELECT why FROM paths WHERE line = ?2 AND dir = 'in' ORDER BY id LIMIT 1), '')`, row.id, row.line)(&a.Contacts, &a.Waiting, &a.Why)
	if err != nil {
		return a, err
	}
	b, err := t.Bucket(row.line)
	if err != nil {
		return a, err
	}
	d := row.system.Describe(b)
	a.Directory, a.Fingerprint, a.Registered, a.PublicKeys, a.Rotating = d.Directory, d.Fingerprint, d.Registered, d.PublicKeys, d.Rotating
	return a, nil
}

// Register makes an account known to its directory. contact is what the directory
// wants besides, such as an e-mail address; it is kept nowhere here.
func (m *Messenger) Register(ctx context.Context, kind, name, contact string) (a Account, err error) {
	var row account
	var question []byte
	err = m.tx(ctx, "register: look", func(t *tx) error {
		if row, err = t.findAccount(kind, name); err != nil {
			return err
		}
		b, err := t.Bucket(row.line)
		if err != nil {
			return err
		}
		var ask bool
		if question, ask = row.system.Question(b, row.name); !ask {
			return fmt.Errorf("%w: the account %q has no directory: hand your public keys over yourself", ErrState, row.name)
		}
		if !row.system.Describe(b).Asked {
			row.system.Registering(b, true)
		}
		return b.Flush()
	})
	if err != nil {
		return a, err
	}
	answer, err := row.system.Register(ctx, question, contact)
	if err != nil && !errors.Is(err, parley.ErrOffline) && ctx.Err() == nil {
		return a, errors.Join(err, m.tx(settled(ctx), "register: refused", func(t *tx) error {
			b, err := t.Bucket(row.line)
			if err != nil || row.system.Describe(b).Registered {
				return err
			}
			row.system.Registering(b, false)
			return b.Flush()
		}))
	}
	if err != nil {
		return a, err
	}
	err = m.tx(settled(ctx), "registered", func(t *tx) error {
		b, err := t.Bucket(row.line)
		if err != nil {
			return err
		}
		if err := row.system.Registered(b, answer); err != nil {
			return err
		}
		if err := b.Flush(); err != nil {
			return err
		}
		a, err = t.describeAccount(row)
		return err
	})
	return a, err
}

// RemoveAccount deletes an account, its keys and its mailbox, with all contacts that
// are reached by it.
func (m *Messenger) RemoveAccount(ctx context.Context, kind, name string) error {
	var was account
	err := m.tx(ctx, "remove account: look", func(t *tx) (err error) {
		was, err = t.findAccount(kind, name)
		return err
	})
	if err != nil {
		return err
	}
	if was.presence {
		m.forgetPresence(was)
	}
	return m.tx(ctx, "remove account", func(t *tx) error {
		a, err := t.findAccount(kind, name)
		if err != nil {
			return err
		}
		contacts, err := t.ids("SELECT DISTINCT d.contact FROM lines l JOIN devices d ON d.id = l.device WHERE l.account = ? AND d.contact IS NOT NULL", a.id)
		if err != nil {
			return err
		}
		for _, c := range contacts {
			if err := t.removeContact(c); err != nil {
				return err
			}
		}
		l, err := t.line(a.line)
		if err != nil {
			return err
		}
		if err := t.exec("DELETE FROM accounts WHERE id = ?", a.id); err != nil {
			return err
		}
		if err := t.dropLine(a.line); err != nil {
			return err
		}
		return t.exec("DELETE FROM devices WHERE id = ?", l.device)
	})
}

// AddPeer makes a contact of somebody who uses an older system. When it returns, the
// contact is on disk; keys are looked up as soon as the directory can be reached.
func (m *Messenger) AddPeer(ctx context.Context, o PeerOptions) (c Contact, err error) {
	as := o.As
	if as == "" {
		as = o.User
	}
	if as, err = ownName(as); err != nil {
		return c, err
	}
	err = m.tx(ctx, "add peer", func(t *tx) error {
		a, err := t.findAccount(o.Kind, o.Account)
		if err != nil {
			return err
		}
		if _, err := a.system.Mailbox(a.server, o.User); err != nil {
			return err
		}
		if o.User == a.name {
			return fmt.Errorf("%w: that is you", ErrState)
		}
		l, err := t.peerLine(a.id, o.User)
		switch {
		case err == nil:
			var name string
			if err := t.row("SELECT name FROM contacts WHERE id = ?", l.contact)(&name); err != nil {
				return err
			}
			if name != as && o.As != "" {
				return fmt.Errorf("%w: %s is your contact %q already", ErrTaken, o.User, name)
			}
			as = name
			if len(o.Keys) > 0 {
				if err := t.keysByHand(a, l, o.Keys); err != nil {
					return err
				}
			}
			t.poke(workJobs)
			return t.exec("UPDATE lines SET stranger = 0, looked = 0 WHERE id = ?", l.id)
		case !isNone(err):
			return err
		}
		if taken, err := t.taken(as, 0); err != nil || taken {
			if err == nil {
				err = fmt.Errorf("%w: %q; choose another with --as", ErrTaken, as)
			}
			return err
		}
		l, err = t.newPeer(a, o.User, as)
		if err != nil {
			return err
		}
		if len(o.Keys) > 0 {
			if err := t.keysByHand(a, l, o.Keys); err != nil {
				return err
			}
		}
		if err := t.exec("DELETE FROM strangers WHERE account = ? AND name = ?", a.id, o.User); err != nil {
			return err
		}
		return t.adopt(a, l)
	})
	if err != nil {
		return c, err
	}
	return m.Contact(ctx, as)
}

// keysByHand pins keys that our user got by another way. They count, whatever was
// pinned before; compared they are not.
func (t *tx) keysByHand(a account, l line, keys []byte) error {
	b, err := t.Bucket(a.line)
	if err != nil {
		return err
	}
	had := a.system.Keys(b, l.peer).Pinned
	if err := a.system.Pin(b, l.peer, keys); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	if had != nil {
		if err := t.notice(l.contact, "You gave other keys for this contact: they count from now on."); err != nil {
			return err
		}
	}
	return t.learned(a, l, News{First: true})
}

// newPeer makes contact, line and way out.
func (t *tx) newPeer(a account, user, as string) (line, error) {
	at, err := a.system.Mailbox(a.server, user)
	if err != nil {
		return line{}, err
	}
	contact, device, err := t.newContact(as)
	if err != nil {
		return line{}, err
	}
	if err := t.exec("UPDATE contacts SET receipts = 'none' WHERE id = ?", contact); err != nil {
		return line{}, err
	}
	id, err := t.newLine(device, a.system.STP(), true, acceptor, connected, nil)
	if err != nil {
		return line{}, err
	}
	if err := t.exec("UPDATE lines SET account = ?, peer = ? WHERE id = ?", a.id, user, id); err != nil {
		return line{}, err
	}
	if err := t.addPath(id, "out", joining, at, parley.Endpoint{Address: at}); err != nil {
		return line{}, err
	}
	t.poke(workJobs)
	return t.line(id)
}

// peerLine returns the line of a user at an account, or [sql.ErrNoRows].
func (t *tx) peerLine(account int64, user string) (line, error) {
	var id int64
	err := t.row("SELECT id FROM lines WHERE account = ? AND peer = ? AND state <> 'retired' ORDER BY id DESC LIMIT 1", account, user)(&id)
	if err != nil {
		return line{}, err
	}
	return t.line(id)
}

// peersOf returns the lines that an account's own line receives for.
func (t *tx) peersOf(l line) (all []line, err error) {
	ids, err := t.ids("SELECT id FROM lines WHERE account = (SELECT id FROM accounts WHERE line = ?) AND state = 'connected' ORDER BY id", l.id)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		p, err := t.line(id)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// isPeer reports whether a contact is reached by an account of ours.
func (t *tx) isPeer(contact int64) (yes bool, err error) {
	err = t.row("SELECT EXISTS (SELECT 1 FROM lines l JOIN devices d ON d.id = l.device WHERE d.contact = ? AND l.account IS NOT NULL)", contact)(&yes)
	return yes, err
}
