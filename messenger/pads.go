package messenger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"parley"
)

// A contact with a one-time pad is a line like any other, except for who remembers:
// the pad itself, on our disk or on a device, knows what was used. Steps, each a commit:
//
//  1. AddPad: contact, line, where the pad is kept, both ends of the way (claiming)
//  2. our mailbox is made (claim.go): connected. There is nothing to agree on
//  3. the pad packages, the packet is committed, and only then is its pad burned
//     ([parley.Conversation].After); a crash in between gives the same packet again
//
// A device may ask a person first. Nothing waits for that here: the line is stuck, or
// the packet kept, until [Pads].Again says that it is worth to try anew.

// Pads knows the one-time pads behind lines.
type Pads interface {
	// Inspect reads a setup and returns what the line will be. It may ask the device,
	// and runs outside of any commit.
	Inspect(ctx context.Context, setup []byte) (PadLine, error)
	// SetUp puts into an empty state where the pad is kept.
	SetUp(state parley.Bucket, setup []byte) error
	// Keyring gives a line its pad.
	Keyring(state parley.Bucket) parley.Keyring
	// Look tells what is known of a pad without waiting for anybody; nil: nothing.
	Look(state parley.Bucket) *Pad
	// Most is the longest text in bytes that can still be sealed; below 0: none.
	Most(p *Pad, stp parley.STP) int64
	// Grant makes the packet that gives the peer pad of ours; size is what
	// [Messenger.GrantPad] was asked for, 8 bytes.
	Grant(ctx context.Context, c *parley.Conversation, id [16]byte, size []byte) ([]byte, error)
	// Again is told once what to call when something that had to wait may go on.
	Again(func())
}

// A PadLine is what a pad makes of a line.
type PadLine struct {
	STP        parley.STP
	Bare       bool   // the original's format, which is nothing but a text
	Self, Peer string // their names on the pad
	ID         string // names this end of the pad, wherever it is kept
	Quiet      bool   // somebody is asked about every packet: no receipts by themselves
	// Ours is where we receive, Theirs where the peer does, at a relay.
	Ours, Theirs func(relay parley.Address) (parley.Address, error)
}

// A Pad is a one-time pad at a glance. Sizes are in bytes.
type Pad struct {
	Version     int    `json:"version"`
	Size        int64  `json:"size"`
	Left        int64  `json:"left"`          // that we can still send with
	Theirs      int64  `json:"theirs"`        // that the peer can
	Largest     int64  `json:"largest"`       // the longest text that fits
	Everlasting bool   `json:"everlasting"`   // from a physical source that was assessed
	Source      string `json:"source"`        // where it came from
	At          string `json:"at"`            // where it is kept
	Why         string `json:"why,omitempty"` // trouble with it
}

// PadPending is what a pad's error wraps, with [parley.ErrDenied], while somebody has to
// be waited for: a person at a device, or the device.
type PadPending struct{ Why string }

func (e *PadPending) Error() string { return e.Why }
func (e *PadPending) Unwrap() error { return parley.ErrDenied }

// PadOptions say how to add somebody with whom we share a pad.
type PadOptions struct {
	Relay string `json:"relay"`
	As    string `json:"as,omitempty"` // our name for them; empty: the one on the pad
	Setup []byte `json:"setup"`        // where the pad is kept
}

func (l line) isPad() bool { return l.stp.Type == parley.OneTimePad.Type }

// withPad lets a transport know the names on the pad, and the pad.
func (t *tx) withPad(l line, c *parley.Conversation) {
	c.Peers = []parley.Name{parley.Name(l.peer)}
	if t.m.o.Pads != nil {
		c.Keys = t.m.o.Pads.Keyring(c.State)
	}
}

// heard is what a transport said on the way.
type heard struct {
	told  []string
	after []func()
}

// overhear collects it; it counts if the state is flushed.
func overhear(c *parley.Conversation) *heard {
	h := &heard{}
	c.Tell = func(text string) { h.told = append(h.told, text) }
	c.After = func(do func()) { h.after = append(h.after, do) }
	return h
}

func (t *tx) noticeAll(l line, texts []string) error {
	for _, text := range texts {
		if err := t.notice(l.contact, text); err != nil {
			return err
		}
	}
	return nil
}

// AddPad makes the contact. When it returns, the contact is on disk, and its mailbox is
// made as soon as the relay can be reached.
func (m *Messenger) AddPad(ctx context.Context, o PadOptions) (c Contact, err error) {
	if m.o.Pads == nil {
		return c, fmt.Errorf("%w: this build knows no pads", ErrState)
	}
	if len(o.Setup) == 0 || len(o.Setup) > maxSetup {
		return c, fmt.Errorf("%w: the setup has %d bytes, not 1 to %d", ErrState, len(o.Setup), maxSetup)
	}
	p, err := m.o.Pads.Inspect(ctx, o.Setup)
	if err != nil {
		return c, err
	}
	as := o.As
	if as == "" {
		as = p.Peer
	}
	if as, err = ownName(as); err != nil {
		return c, err
	}
	ours, err := p.Ours(parley.Address(o.Relay))
	if err != nil {
		return c, err
	}
	theirs, err := p.Theirs(parley.Address(o.Relay))
	if err != nil {
		return c, err
	}
	scheme, _ := m.relayOf(ours)
	if _, err := m.carrier(scheme); err != nil {
		return c, err
	}
	var id, contact int64
	err = m.tx(ctx, "add pad", func(t *tx) (err error) {
		id, contact, err = t.addPad(as, o.As != "", o.Setup, p, ours, theirs)
		return err
	})
	if err != nil {
		return c, err
	}
	switch err = m.claimNow(ctx, id); {
	case err == nil, errors.Is(err, parley.ErrOffline):
	case ctx.Err() != nil:
		return c, ctx.Err()
	case errors.Is(err, parley.ErrRefused), errors.Is(err, parley.ErrDenied):
		return c, errors.Join(err, m.undoPad(ctx, id, contact))
	default:
		m.log.Info("messenger: a line with a pad goes on later", "line", id, "error", err)
	}
	return m.Contact(ctx, as)
}

// addPad is step 1.
func (t *tx) addPad(as string, named bool, setup []byte, p PadLine, ours, theirs parley.Address) (id, contact int64, err error) {
	digest := sha256.Sum256([]byte("pad " + p.ID))
	var other string
	err = t.row(`SELECT c.name FROM lines l JOIN devices d ON d.id = l.device JOIN contacts c ON c.id = d.contact
		WHERE l.stp_type = ? AND l.state <> 'retired' AND l.invitation = ? LIMIT 1`, parley.OneTimePad.Type, digest[:])(&other)
	if err == nil {
		return 0, 0, fmt.Errorf("%w: this pad is the contact %q already", ErrTaken, other)
	}
	if !isNone(err) {
		return 0, 0, err
	}
	contact, device, err := t.padContact(as, named)
	if err != nil {
		return 0, 0, err
	}
	if p.Bare || p.Quiet {
		if err := t.exec("UPDATE contacts SET receipts = 'none' WHERE id = ?", contact); err != nil {
			return 0, 0, err
		}
	}
	if id, err = t.newLine(device, p.STP, p.Bare, acceptor, claiming, nil); err != nil {
		return 0, 0, err
	}
	if err := t.exec("UPDATE lines SET peer = ?, invitation = ? WHERE id = ?", p.Peer, digest[:], id); err != nil {
		return 0, 0, err
	}
	if err := t.addPath(id, "out", joining, theirs, parley.Endpoint{Address: theirs}); err != nil {
		return 0, 0, err
	}
	b, err := t.Bucket(id)
	if err != nil {
		return 0, 0, err
	}
	if err := t.m.o.Pads.SetUp(b, setup); err != nil {
		return 0, 0, err
	}
	if err := b.Flush(); err != nil {
		return 0, 0, err
	}
	t.poke(workJobs)
	if moved, err := t.takeMailbox(id, device, ours); err != nil || moved {
		return id, contact, err
	}
	// Until it is claimed, what opens it waits where no address is ever shown.
	_, relay := t.m.relayOf(ours)
	if err := t.addPath(id, "in", want, ours, parley.Endpoint{Address: relay, Secret: []byte(ours)}); err != nil {
		return 0, 0, err
	}
	return id, contact, nil
}

// takeMailbox gives a new line the mailbox of an older one with the same contact, where
// both pads have the same: in version 1. What was sent with the older pad is still opened
// with it, see unsealAny.
func (t *tx) takeMailbox(id, device int64, ours parley.Address) (moved bool, err error) {
	n, err := t.count(`UPDATE paths SET line = ?1 WHERE dir = 'in' AND state = 'open' AND address = ?3
		AND line IN (SELECT id FROM lines WHERE device = ?2 AND stp_type = ?4 AND id <> ?1)`, id, device, string(ours), parley.OneTimePad.Type)
	if err != nil || n == 0 {
		return false, err
	}
	t.poke(workSeal | workEars)
	return true, t.exec("UPDATE lines SET state = 'connected' WHERE id = ?", id)
}

// notThisPad reports whether a packet may have been made with another pad.
func notThisPad(cause error) bool {
	return errors.Is(cause, parley.ErrForged) || errors.Is(cause, parley.ErrMalformed)
}

// unsealAny opens a packet of an open mailbox with the newest pad of the contact's that
// made it.
func (t *tx) unsealAny(l line, a *arrival, packet []byte) (v verdict, cause, err error) {
	ids, err := t.ids("SELECT id FROM lines WHERE device = ? AND stp_type = ? AND bare AND state <> 'retired' ORDER BY id DESC", l.device, parley.OneTimePad.Type)
	if err != nil {
		return 0, nil, err
	}
	for i, id := range ids {
		if l, err = t.line(id); err != nil {
			return 0, nil, err
		}
		a.others = i < len(ids)-1
		if v, cause, err = t.unseal(l, a, packet); err != nil || v != dropped || !notThisPad(cause) {
			break
		}
	}
	return v, cause, err
}

// padContact returns the contact and device of a new line: a contact that has a pad, if
// it was named, which then sends with the new one and still receives with the old; or a new
// one.
func (t *tx) padContact(as string, named bool) (contact, device int64, err error) {
	taken, err := t.taken(as, 0)
	if err != nil {
		return 0, 0, err
	}
	if !taken {
		return t.newContact(as)
	}
	if contact, err = t.find(as); err != nil {
		return 0, 0, err
	}
	pad, err := t.hasPad(contact)
	switch {
	case err != nil:
		return 0, 0, err
	case !pad:
		return 0, 0, fmt.Errorf("%w: %q; choose another with --as", ErrTaken, as)
	case !named:
		return 0, 0, fmt.Errorf("%w: %q has a pad: with --as %s this one takes its place, with another name it is somebody else's", ErrTaken, as, shellName(as))
	}
	if err := t.notice(contact, "A new pad is used with this contact from now on. What comes with the old one is still received."); err != nil {
		return 0, 0, err
	}
	err = t.row("SELECT id FROM devices WHERE contact = ? ORDER BY id LIMIT 1", contact)(&device)
	return contact, device, err
}

// GrantPad has a line with a pad give some of it to the contact.
func (m *Messenger) GrantPad(ctx context.Context, name string, size int64) error {
	if size <= 0 {
		return fmt.Errorf("%w: a grant of %d bytes", ErrState, size)
	}
	return m.tx(ctx, "grant pad", func(t *tx) error {
		who, err := t.find(name)
		if err != nil {
			return err
		}
		lines, err := t.targets(who)
		if err != nil {
			return err
		}
		for _, l := range lines {
			if l.stp != parley.OneTimePadV2 {
				continue
			}
			if p := t.pad(l); p != nil && size >= p.Left {
				return fmt.Errorf("%w: %d bytes of pad are yours to send with, and you would give away %d", ErrState, p.Left, size)
			}
			number := newID()
			return t.intend(l.id, 0, "grant", number[:], parley.AMP{}, binary.BigEndian.AppendUint64(nil, uint64(size)), t.stampNow())
		}
		return fmt.Errorf("%w: %q is not reached with a pad of version 2", ErrState, name)
	})
}

// pad is what is known of a line's pad, or nil.
func (t *tx) pad(l line) *Pad {
	b, err := t.Bucket(l.id)
	if err != nil || t.m.o.Pads == nil {
		return nil
	}
	return t.m.o.Pads.Look(b)
}

// padFits refuses a text for which there is too little pad left.
func (t *tx) padFits(l line, size int) error {
	p := t.pad(l)
	if p == nil {
		return nil
	}
	switch most := t.m.o.Pads.Most(p, l.stp); {
	case int64(size) <= most:
		return nil
	case most <= 0:
		return fmt.Errorf("%w: the pad has %d bytes left to send with, which are too few for any text: make a new pad with this contact (parley contact add-pad --as), or have it grant you some of its own", ErrTooLong, p.Left)
	default:
		return fmt.Errorf("%w: %d bytes, and with what is left of the pad (%d bytes) a text of at most %d fits: make a new pad with this contact in time", ErrTooLong, size, p.Left, most)
	}
}

// Of what was ours at first, so many hundredths are left when the user is warned.
var padWarnings = []int64{25, 10, 5, 1}

// padLow warns before a pad runs out, once for each mark.
func (t *tx) padLow(l line, c *parley.Conversation) error {
	p := t.m.o.Pads.Look(c.State)
	if p == nil || p.Size == 0 {
		return nil
	}
	var passed int64
	for _, mark := range padWarnings {
		if p.Left*200 <= p.Size*mark {
			passed = mark
		}
	}
	if passed == 0 {
		return nil
	}
	return t.noticeOnce(l, fmt.Sprintf("pad below %d", passed), fmt.Sprintf("The pad is running out: %d bytes are left to send with, less than %d %% of what you had. Make a new pad with this contact in time, or have it grant you some of its own.", p.Left, passed))
}

// sortPad says what becomes of a packet that the pad did not open.
func (t *tx) sortPad(l line, cause error) (verdict, error, error) {
	day := t.now().UTC().Format(time.DateOnly)
	switch {
	case errors.Is(cause, parley.ErrSeen):
		return dropped, cause, t.noticeOnce(l, "repeated "+day, "A message came again that was taken before, and was not shown: the relay, or somebody who can write to the mailbox, repeats messages.")
	case errors.Is(cause, parley.ErrForged):
		// An open mailbox may hold what was sent with an older pad of the same two.
		if first, err := t.firstOf(l); err != nil || first {
			return dropped, cause, err
		}
		return dropped, cause, t.noticeOnce(l, "forged "+day, "A packet came that was not made with this pad, or was changed on its way. It was dropped, and has used no pad. If it was changed, a message is missing.")
	case errors.Is(cause, parley.ErrMalformed), errors.Is(cause, parley.ErrLate):
		return dropped, cause, nil
	}
	return kept, cause, nil
}

// firstOf reports whether nothing has come by a bare line yet.
func (t *tx) firstOf(l line) (yes bool, err error) {
	err = t.row("SELECT l.bare AND NOT EXISTS (SELECT 1 FROM once WHERE line = l.id) FROM lines l WHERE l.id = ?", l.id)(&yes)
	return yes, err
}

// undoPad takes a line back whose mailbox the relay has refused.
func (m *Messenger) undoPad(ctx context.Context, id, contact int64) error {
	return m.tx(settled(ctx), "add pad: undo", func(t *tx) error {
		if err := t.dropLine(id); err != nil {
			return err
		}
		var others int
		if err := t.row("SELECT count(*) FROM lines l JOIN devices d ON d.id = l.device WHERE d.contact = ?", contact)(&others); err != nil || others > 0 {
			return err
		}
		return t.exec("DELETE FROM contacts WHERE id = ?", contact)
	})
}

// describePad adds what a line with a pad promises.
func (t *tx) describePad(c *Contact, l line) error {
	c.Protocol, c.User, c.Pad = "one-time-pad", l.peer, t.pad(l)
	if p, err := t.m.transport(l.stp); err == nil {
		g := p.Guarantees()
		if c.Pad == nil || !c.Pad.Everlasting {
			g &^= parley.Everlasting
		}
		c.promise(g)
		c.Lacks = slices.DeleteFunc(c.Lacks, func(s string) bool { return s == brokenForGood })
		c.Lacks = append(c.Lacks, "who has a copy of the pad reads and writes all that comes after: guard the file, and what it was copied from")
	}
	switch {
	case c.Pad == nil || c.Pad.Size == 0:
		c.Lacks = append(c.Lacks, "the pad cannot be looked at now")
	case !c.Pad.Everlasting:
		c.Lacks = append(c.Lacks, "everlasting only as far as the source of the pad is: "+c.Pad.Source+", which nobody has assessed as a physical one")
	}
	if l.stp == parley.OneTimePad {
		c.Lacks = append(c.Lacks, "that nobody has changed a message rests on HMAC-SHA256, and lengths show: the original's format")
	}
	if l.bare {
		c.Lacks = append(c.Lacks, "no receipts: a message is known to be at the relay, and no further")
	}
	return t.relaysOf(c, l)
}

// hasPad reports whether a contact is reached with a pad, hasBarePad whether with one of
// version 1.
func (t *tx) hasPad(contact int64) (yes bool, err error) {
	err = t.row("SELECT EXISTS (SELECT 1 FROM lines l JOIN devices d ON d.id = l.device WHERE d.contact = ? AND l.stp_type = ?)", contact, parley.OneTimePad.Type)(&yes)
	return yes, err
}

func (t *tx) hasBarePad(contact int64) (yes bool, err error) {
	err = t.row("SELECT EXISTS (SELECT 1 FROM lines l JOIN devices d ON d.id = l.device WHERE d.contact = ? AND l.stp_type = ? AND l.bare)", contact, parley.OneTimePad.Type)(&yes)
	return yes, err
}

// padsAgain lets everything go on that waits for a pad.
func (m *Messenger) padsAgain() {
	if m.ctx.Err() != nil {
		return
	}
	m.wg.Go(func() {
		err := m.tx(m.ctx, "pads: again", func(t *tx) error {
			ids, err := t.ids("SELECT id FROM lines WHERE stp_type = ?", parley.OneTimePad.Type)
			if err != nil {
				return err
			}
			for _, id := range ids {
				t.then(func() { m.unblock(id) })
				if err := t.retryKept(id); err != nil {
					return err
				}
			}
			t.poke(workSeal)
			return nil
		})
		if err != nil && m.ctx.Err() == nil {
			m.log.Error("messenger: what waits for a pad cannot be looked at", "error", err)
		}
	})
}
