package otp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"parley"
)

// A pad file of version 2 is a header of PadHeaderSize bytes and then Size bytes of pad.
// Positions count from the first byte of pad.
//
// The header is a line with the format's name, one JSON object, zeros, and the SHA-256
// of all that, which finds accidents.

// PadHeaderSize is the length of the header, in bytes.
const PadHeaderSize = 4096

// Bounds of a pad of version 2.
const (
	MinPad  = 256
	MaxPad  = 1 << 56
	MaxName = 128 // bytes of a person's name
	// MaxNames is how many bytes both names have together: a file system takes 255 for the
	// name of a file, and there are files with both and more in theirs.
	MaxNames = 220

	padMagic   = "OTCPAD2\n"
	maxSources = 16
)

// Whole is the Owner of a pad that was not split between its two people yet.
const Whole = -1

// A PadHeader says what a pad file is. All of it but Check is the same in both people's
// files, and so is Check: only Owner differs.
type PadHeader struct {
	ID      [8]byte // random; in every packet
	Size    int64   // of the pad, in bytes
	Split   int64   // below it is lane 0's, from it on lane 1's, before any grant
	Names   [2]string
	Owner   int // whose file it is: lane 0, lane 1, or Whole
	Created time.Time
	Sources []Source
	// Check is what two people compare: a digest of the pad under a mask that came from
	// the pad's sources and is kept nowhere, so that it tells nothing of the pad even to
	// who can compute everything.
	Check [16]byte
	// Mailbox is random and known to the two alone: the names of their mailboxes and what
	// opens them are made of it. It is no pad.
	Mailbox [16]byte
}

// A Source is where a pad's bytes came from: all sources are XORed.
type Source struct {
	Kind string `json:"kind"` // "random", "urandom", "file", "device"
	Name string `json:"name"` // its path
	// Assessed: the owner says that it is a physical source and has been assessed.
	Assessed bool   `json:"assessed,omitempty"`
	Tests    string `json:"tests,omitempty"` // which health tests it has passed
}

type padHeaderJSON struct {
	Format  int       `json:"format"`
	ID      string    `json:"pad_id"`
	Size    int64     `json:"size"`
	Split   int64     `json:"split"`
	Names   [2]string `json:"names"`
	Owner   int       `json:"owner"`
	Created time.Time `json:"created"`
	Sources []Source  `json:"sources"`
	Check   string    `json:"check"`
	Mailbox string    `json:"mailbox"`
}

// Unconditional reports whether one of the sources is physical and assessed: then the
// pad is as random as that one, whatever the others are.
func (h *PadHeader) Unconditional() bool {
	for _, s := range h.Sources {
		if s.Assessed {
			return true
		}
	}
	return false
}

// Marshal returns the PadHeaderSize bytes. The error is [parley.ErrRefused].
func (h *PadHeader) Marshal() ([]byte, error) {
	if err := h.valid(); err != nil {
		return nil, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	j, err := json.Marshal(padHeaderJSON{
		Format: int(V2), ID: hex.EncodeToString(h.ID[:]), Size: h.Size, Split: h.Split, Names: h.Names,
		Owner: h.Owner, Created: h.Created.UTC().Truncate(time.Second), Sources: h.Sources, Check: hex.EncodeToString(h.Check[:]),
		Mailbox: hex.EncodeToString(h.Mailbox[:]),
	})
	if err != nil || len(padMagic)+len(j) > PadHeaderSize-sha256.Size {
		return nil, fmt.Errorf("%w: the header of the pad is too long: use shorter names for its sources", parley.ErrRefused)
	}
	out := make([]byte, PadHeaderSize)
	copy(out[copy(out, padMagic):], j)
	sum := sha256.Sum256(out[:PadHeaderSize-sha256.Size])
	copy(out[PadHeaderSize-sha256.Size:], sum[:])
	return out, nil
}

// IsPadHeader reports whether a file begins like a pad of version 2.
func IsPadHeader(b []byte) bool { return bytes.HasPrefix(b, []byte(padMagic)) }

// ParsePadHeader reads a header. The error is [parley.ErrMalformed].
func ParsePadHeader(b []byte) (*PadHeader, error) {
	bad := func(what string) (*PadHeader, error) {
		return nil, fmt.Errorf("%w: the header of the pad: %s", parley.ErrMalformed, what)
	}
	if len(b) < PadHeaderSize || !IsPadHeader(b) {
		return bad("this is no pad of version 2")
	}
	b = b[:PadHeaderSize]
	text, sum := b[:PadHeaderSize-sha256.Size], b[PadHeaderSize-sha256.Size:]
	if want := sha256.Sum256(text); !bytes.Equal(sum, want[:]) {
		return bad("it is damaged")
	}
	if !utf8.Valid(text) { // JSON would put another character in its place
		return bad("it cannot be read")
	}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimRight(text[len(padMagic):], "\x00")))
	dec.DisallowUnknownFields()
	var j padHeaderJSON
	if err := dec.Decode(&j); err != nil || dec.More() {
		return bad("it cannot be read")
	}
	h := &PadHeader{Size: j.Size, Split: j.Split, Names: j.Names, Owner: j.Owner, Created: j.Created, Sources: j.Sources}
	id, err := hex.DecodeString(j.ID)
	check, err2 := hex.DecodeString(j.Check)
	mailbox, err3 := hex.DecodeString(j.Mailbox)
	if j.Format != int(V2) || err != nil || err2 != nil || err3 != nil || len(id) != len(h.ID) || len(check) != len(h.Check) || len(mailbox) != len(h.Mailbox) {
		return bad("it cannot be read")
	}
	copy(h.ID[:], id)
	copy(h.Check[:], check)
	copy(h.Mailbox[:], mailbox)
	if err := h.valid(); err != nil {
		return bad(err.Error())
	}
	return h, nil
}

func (h *PadHeader) valid() error {
	switch {
	case h.Size < MinPad || h.Size > MaxPad:
		return fmt.Errorf("a pad of %d bytes, not %d to 2^56", h.Size, MinPad)
	case h.Split < 0 || h.Split > h.Size:
		return fmt.Errorf("a split at %d of %d bytes", h.Split, h.Size)
	case h.Owner < Whole || h.Owner > 1:
		return fmt.Errorf("no owner %d", h.Owner)
	case len(h.Sources) == 0 || len(h.Sources) > maxSources:
		return fmt.Errorf("%d sources, not 1 to %d", len(h.Sources), maxSources)
	}
	return ValidNames(h.Names)
}

// ValidNames says what is wrong with the names of a pad's two people.
func ValidNames(names [2]string) error {
	for _, name := range names {
		if err := ValidName(name); err != nil {
			return err
		}
	}
	switch n := len(names[0]) + len(names[1]); {
	case names[0] == names[1]:
		return fmt.Errorf("a pad with oneself")
	case n > MaxNames:
		return fmt.Errorf("names of %d bytes together, at most %d", n, MaxNames)
	}
	return nil
}

// ValidName says what is wrong with a person's name in a pad, which is part of the names
// of its files: neither what a file's name cannot have, nor what is not seen when it is
// shown, such as the marks that turn text around.
func ValidName(name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) {
		return fmt.Errorf("a name of %d bytes, not 1 to %d of UTF-8", len(name), MaxName)
	}
	for _, r := range name {
		switch {
		case r == '/', r == '\\', r == '.', r == ':', r == ',', r == utf8.RuneError, unicode.IsControl(r), unicode.IsSpace(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return fmt.Errorf("the name has %q in it", r)
		}
	}
	return nil
}
