// Package content is what messages mean: a closed set of events and their codecs.
// An [Event] and its bytes belong to one AMP number of the root package;
// docs/envelope.md lists the fields. It is pure: bytes in, bytes out.
//
// What comes in is checked as strictly as what goes out, so that an Event from
// [Decode] can always be stored, shown and sent on. A number or a field of a
// protobuf body that this build does not know is no fault of the sender: the
// number is an [*UnknownError], the field is skipped; except in [Devices] and
// [Membership], which grant trust and must be understood wholly.
package content

import (
	"bytes"
	"errors"
	"fmt"

	"parley"
)

// Limits. All sizes are in bytes unless they say otherwise.
const (
	MaxBody      = 1 << 20   // an encoded event
	MaxText      = 256 << 10 // the text of Text and Edit
	MaxName      = 64        // runes of a name of a person, device or group member
	MaxFileName  = 255       // a file's name
	MaxAddress   = 4 << 10
	MaxList      = 256 // entries of each list
	MaxKey       = 4 << 10
	MaxSignature = 8 << 10
	MaxGroup     = 64      // a group's ID
	MaxFile      = 1 << 50 // a file
	MaxChunk     = 64 << 20
)

// ErrTooLong is in every error about something that exceeds a limit.
var ErrTooLong = errors.New("too long")

// An Event is one of Text, Hello, Receipt, Edit, Delete, FileManifest, Paths,
// Devices, Membership and Presence, always as a value, never as a pointer.
type Event interface {
	// AMP is the number that the event travels under.
	AMP() parley.AMP
	check() error
	append(b []byte) []byte
}

// An UnknownError says that this build has no codec for a number.
type UnknownError struct {
	AMP parley.AMP
	// Other is the version of the same type that is known; zero if none.
	Other uint16
}

func (e *UnknownError) Error() string {
	if e.Other != 0 {
		return fmt.Sprintf("content: type %d is known in version %d, not in version %d", e.AMP.Type, e.Other, e.AMP.Version)
	}
	return fmt.Sprintf("content: type %d version %d is not known", e.AMP.Type, e.AMP.Version)
}

// codecs holds a decoder for each number; strict ones accept only the exact
// bytes that Encode makes of the event.
var codecs = map[parley.AMP]struct {
	decode func(body []byte) (Event, error)
	strict bool
}{
	parley.TextPlain:  {decodeText, true},
	parley.Hello:      {decodeHello, false},
	parley.Receipt:    {decodeReceipt, false},
	parley.Edit:       {decodeEdit, false},
	parley.Delete:     {decodeDelete, false},
	parley.File:       {decodeFile, false},
	parley.Paths:      {decodePaths, false},
	parley.Devices:    {decodeDevices, true},
	parley.Membership: {decodeMembership, true},
	parley.Presence:   {decodePresence, false},
}

// Encode checks e and returns its number and body. The same event always gives
// the same bytes.
func Encode(e Event) (parley.AMP, []byte, error) {
	if err := e.check(); err != nil {
		return parley.AMP{}, nil, fmt.Errorf("content: %w", err)
	}
	body := e.append(nil)
	if len(body) > MaxBody {
		return parley.AMP{}, nil, fmt.Errorf("content: the event is %w: %d bytes, at most %d", ErrTooLong, len(body), MaxBody)
	}
	return e.AMP(), body, nil
}

// Decode reads a body that came under a. It returns an [*UnknownError] for a
// number without a codec, else an error that is [parley.ErrMalformed]. The event
// shares no memory with body.
func Decode(a parley.AMP, body []byte) (Event, error) {
	c, ok := codecs[a]
	if !ok {
		return nil, unknown(a)
	}
	if len(body) > MaxBody {
		return nil, fmt.Errorf("content: %w: the event is %w: %d bytes, at most %d", parley.ErrMalformed, ErrTooLong, len(body), MaxBody)
	}
	e, err := c.decode(body)
	if err == nil {
		err = e.check()
	}
	if err == nil && c.strict && !bytes.Equal(e.append(nil), body) {
		err = errors.New("it is not in the one form that may be trusted")
	}
	if err != nil {
		return nil, fmt.Errorf("content: %w: type %d: %w", parley.ErrMalformed, a.Type, err)
	}
	return e, nil
}

func unknown(a parley.AMP) error {
	e := &UnknownError{AMP: a}
	for k := range codecs {
		if k.Type == a.Type {
			e.Other = k.Version
		}
	}
	return e
}
