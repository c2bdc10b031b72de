package content

import (
	"errors"
	"fmt"

	"parley"
)

// Text is what a person wrote: 1 to [MaxText] bytes of UTF-8, kept as it is, line
// ends and control characters included: faces strip those. Its body is the text.
type Text struct {
	Text string
}

// AMP returns [parley.TextPlain].
func (Text) AMP() parley.AMP { return parley.TextPlain }

func (e Text) check() error {
	if e.Text == "" {
		return errors.New("the text is empty")
	}
	return checkText("the text", e.Text, MaxText)
}

func (e Text) append(b []byte) []byte { return append(b, e.Text...) }

func decodeText(body []byte) (Event, error) { return Text{string(body)}, nil }

// An Edit replaces the text of an earlier message of the same sender.
type Edit struct {
	Target   [16]byte // the message's ID
	Revision uint32   // from 1; the highest wins, whatever came first
	Text     string   // as in Text
}

// AMP returns [parley.Edit].
func (Edit) AMP() parley.AMP { return parley.Edit }

func (e Edit) check() error {
	if err := checkIDs("message IDs", [][16]byte{e.Target}, 1); err != nil {
		return err
	}
	if e.Revision == 0 {
		return errors.New("the revision is zero")
	}
	return Text{e.Text}.check()
}

func (e Edit) append(b []byte) []byte {
	b = putElement(b, 1, e.Target[:])
	b = putUint(b, 2, uint64(e.Revision))
	return putString(b, 3, e.Text)
}

func decodeEdit(body []byte) (Event, error) {
	var e Edit
	err := parse(body, slots{1: toArray(e.Target[:]), 2: toUint(&e.Revision), 3: toString(&e.Text)})
	return e, err
}

// A Delete asks to remove earlier messages of the same sender.
type Delete struct {
	Targets [][16]byte // 1 to MaxList different message IDs
}

// AMP returns [parley.Delete].
func (Delete) AMP() parley.AMP { return parley.Delete }

func (e Delete) check() error { return checkIDs("message IDs", e.Targets, 1) }

func (e Delete) append(b []byte) []byte { return putIDs(b, 1, e.Targets) }

func decodeDelete(body []byte) (Event, error) {
	var e Delete
	err := parse(body, slots{1: toList(&e.Targets, asID)})
	return e, err
}

// PresenceKind says what a person is doing.
type PresenceKind uint8

// Kinds of presence.
const (
	Online PresenceKind = iota + 1
	Away
	Offline
	Typing
)

// Presence is true for a while only, and is never stored.
type Presence struct {
	Kind    PresenceKind
	Seconds uint32 // how long it holds, 1 to 3600
}

// AMP returns [parley.Presence].
func (Presence) AMP() parley.AMP { return parley.Presence }

func (e Presence) check() error {
	if e.Kind < Online || e.Kind > Typing {
		return fmt.Errorf("presence %d is not known", e.Kind)
	}
	if e.Seconds < 1 || e.Seconds > 3600 {
		return fmt.Errorf("presence for %d seconds, not 1 to 3600", e.Seconds)
	}
	return nil
}

func (e Presence) append(b []byte) []byte {
	return putUint(putUint(b, 1, uint64(e.Kind)), 2, uint64(e.Seconds))
}

func decodePresence(body []byte) (Event, error) {
	var e Presence
	err := parse(body, slots{1: toUint(&e.Kind), 2: toUint(&e.Seconds)})
	return e, err
}
