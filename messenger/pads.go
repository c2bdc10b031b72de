package messenger

import (
	"context"
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
	// Fits reports whether a text of that many bytes can still be sealed.
	Fits(p *Pad, stp parley.STP, size int) bool
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
		id, contact, err = t.addPad(as, o.Setup, p, ours, theirs)
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
		return c, errors.Join(err, m.undoAccept(ctx, id, contact, true))
	default:
		m.log.Info("messenger: a line with a pad goes on later", "line", id, "error", err)
	}
	return m.Contact(ctx, as)
}

// addPad is step 1.
func (t *tx) addPad(as string, setup []byte, p PadLine, ours, theirs parley.Address) (id, contact int64, err error) {
	if taken, err := t.taken(as, 0); err != nil || taken {
		if err == nil {
			err = fmt.Errorf("%w: %q; choose another with --as", ErrTaken, as)
		}
		return 0, 0, err
	}
	var other string
	err = t.row(`SELECT c.name FROM paths p JOIN lines l ON l.id = p.line JOIN devices d ON d.id = l.device JOIN contacts c ON c.id = d.contact
		WHERE l.stp_type = ? AND l.state <> 'retired' AND p.dir = 'out' AND p.address = ? LIMIT 1`, parley.OneTimePad.Type, string(theirs))(&other)
	if err == nil {
		return 0, 0, fmt.Errorf("%w: this pad is the contact %q already", ErrTaken, other)
	}
	if !isNone(err) {
		return 0, 0, err
	}
	contact, device, err := t.newContact(as)
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
	if err := t.exec("UPDATE lines SET peer = ? WHERE id = ?", p.Peer, id); err != nil {
		return 0, 0, err
	}
	if err := t.addPath(id, "out", joining, theirs, parley.Endpoint{Address: theirs}); err != nil {
		return 0, 0, err
	}
	// Until it is claimed, what opens it waits where no address is ever shown.
	_, relay := t.m.relayOf(ours)
	if err := t.addPath(id, "in", want, ours, parley.Endpoint{Address: relay, Secret: []byte(ours)}); err != nil {
		return 0, 0, err
	}
	b, err := t.Bucket(id)
	if err != nil {
		return 0, 0, err
	}
	if err := t.m.o.Pads.SetUp(b, setup); err != nil {
		return 0, 0, err
	}
	t.poke(workJobs)
	return id, contact, b.Flush()
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
	if p == nil || t.m.o.Pads.Fits(p, l.stp, size) {
		return nil
	}
	return fmt.Errorf("%w: the pad has %d bytes left to send with, and a text of at most about %d fits: make a new pad with this contact", ErrTooLong, p.Left, max(p.Largest, 0))
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
		return dropped, cause, t.noticeOnce(l, "forged "+day, "A packet came that was not made with this pad, or was changed on its way. It was dropped, and has used no pad. If it was changed, a message is missing.")
	case errors.Is(cause, parley.ErrMalformed), errors.Is(cause, parley.ErrLate):
		return dropped, cause, nil
	}
	return kept, cause, nil
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
