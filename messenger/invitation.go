package messenger

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"parley"
)

// An invitation is one line of text, PARLEY: and base32 (RFC 4648, upper case, no
// padding), which a QR code holds in its denser, alphanumeric mode. In it:
//
//	1   version, 1
//	1   flags, 0
//	4   secure transport: type, version (2 bytes each)
//	1+n the inviter's name, at most 32 bytes of UTF-8
//	2+n the secure transport's offer
//	1   number of mailboxes, 1 to 4; each:
//	    1   form: 0 an address as text, 1 SMP 2020's short form
//	    2+n the address
//	4   the first bytes of SHA-256 over all before
//
// Numbers are big-endian.
const (
	invitationPrefix  = "PARLEY:"
	invitationVersion = 1
	maxInvitation     = 8 << 10 // bytes, decoded
	maxInviteName     = 32      // bytes
	maxOffer          = 4 << 10
	checksumSize      = 4
)

// forms are the carriers whose addresses have a short form in an invitation.
// Numbers are never reused.
var forms = map[byte]string{1: "smp2020"}

// An offering is what an invitation says.
type offering struct {
	stp       parley.STP
	name      string
	offer     []byte
	mailboxes []parley.Address
	digest    [32]byte // names the invitation
}

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// shortName cuts a name to what an invitation holds, between characters.
func shortName(s string) string {
	s = cleanName(s)
	for len(s) > maxInviteName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.TrimSpace(s)
}

func (m *Messenger) formatInvitation(o offering) (string, [32]byte, error) {
	b := []byte{invitationVersion, 0}
	b = binary.BigEndian.AppendUint16(b, o.stp.Type)
	b = binary.BigEndian.AppendUint16(b, o.stp.Version)
	b = append(append(b, byte(len(o.name))), o.name...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(o.offer))), o.offer...)
	b = append(b, byte(len(o.mailboxes)))
	for _, a := range o.mailboxes {
		form, bytes, err := m.shortAddress(a)
		if err != nil {
			return "", [32]byte{}, err
		}
		b = append(b, form)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(bytes))), bytes...)
	}
	if len(o.offer) > maxOffer || len(b)+checksumSize > maxInvitation {
		return "", [32]byte{}, fmt.Errorf("messenger: an invitation of %d bytes is too long", len(b))
	}
	sum := sha256.Sum256(b)
	return invitationPrefix + base32Text.EncodeToString(append(b, sum[:checksumSize]...)), sum, nil
}

// shortAddress returns the address in the shortest form there is.
func (m *Messenger) shortAddress(a parley.Address) (form byte, b []byte, err error) {
	scheme, _, _ := strings.Cut(string(a), ":")
	for form, s := range forms {
		if f := m.o.Mailboxes[s]; s == scheme && f != nil {
			b, err := f.Compact(a)
			return form, b, err
		}
	}
	return 0, []byte(a), nil
}

// squeeze removes what copying and mailing puts into a line.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, s)
}

// parseInvitation reads an invitation in any case, with any spaces and line ends.
func (m *Messenger) parseInvitation(s string) (o offering, err error) {
	if len(s) > 4*maxInvitation {
		return o, fmt.Errorf("%w: it is far too long", ErrInvitation)
	}
	text, ok := strings.CutPrefix(squeeze(s), invitationPrefix)
	if !ok {
		return o, fmt.Errorf("%w: it does not begin with %s", ErrInvitation, invitationPrefix)
	}
	text = strings.TrimRight(text, "=")
	if i := strings.IndexFunc(text, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		return o, fmt.Errorf("%w: it has the character %q, which no invitation has: copy it again, all of it", ErrInvitation, r)
	}
	b, err := base32Text.DecodeString(text)
	if err != nil || len(b) < 2+checksumSize {
		return o, fmt.Errorf("%w: a part is missing: copy it again, all of it", ErrInvitation)
	}
	b, sum := b[:len(b)-checksumSize], b[len(b)-checksumSize:]
	o.digest = sha256.Sum256(b)
	if !bytes.Equal(sum, o.digest[:checksumSize]) {
		return o, fmt.Errorf("%w: a part is missing or a character is wrong: copy it again, all of it", ErrInvitation)
	}
	if b[0] != invitationVersion || b[1] != 0 {
		return o, fmt.Errorf("%w: it was made by a newer version (%d.%d): update this program", ErrInvitation, b[0], b[1])
	}
	if err := m.readInvitation(&o, b[2:]); err != nil {
		return o, fmt.Errorf("%w: %w", ErrInvitation, err)
	}
	return o, nil
}

func (m *Messenger) readInvitation(o *offering, b []byte) error {
	whole := true
	take := func(n int) []byte {
		if whole = whole && len(b) >= n; !whole {
			return make([]byte, n)
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	number := func() int { return int(binary.BigEndian.Uint16(take(2))) }
	o.stp.Type = uint16(number())
	o.stp.Version = uint16(number())
	o.name = cleanName(string(take(int(take(1)[0]))))
	o.offer = bytes.Clone(take(number()))
	n := int(take(1)[0])
	if n < 1 || n > maxRelays {
		return fmt.Errorf("it names %d mailboxes, not 1 to %d", n, maxRelays)
	}
	for range n {
		form := take(1)[0]
		raw := take(number())
		if !whole {
			break
		}
		a, err := m.longAddress(form, raw)
		if err != nil {
			return err
		}
		o.mailboxes = append(o.mailboxes, a)
	}
	if !whole || len(b) > 0 {
		return fmt.Errorf("its parts do not fit together")
	}
	return nil
}

func (m *Messenger) longAddress(form byte, b []byte) (parley.Address, error) {
	if form == 0 {
		for _, c := range b {
			if c <= ' ' || c > '~' {
				return "", fmt.Errorf("a mailbox's address is not printable")
			}
		}
		return parley.Address(b), nil
	}
	f := m.o.Mailboxes[forms[form]]
	if f == nil {
		return "", fmt.Errorf("it names a mailbox of a kind (%d) that this program does not know: update it", form)
	}
	return f.Expand(b)
}
