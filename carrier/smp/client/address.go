package smpclient

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"

	"parley"
	"parley/carrier/smp"
)

// A Mailbox is what an address of a mailbox says: where to send, and the key to
// seal for. It is the out-of-band message of the text in another form.
type Mailbox struct {
	Server smp.Server
	Sender smp.ID         // SID
	EK     *rsa.PublicKey // exponent 65537
	Bare   bool           // packets are whole decrypted bodies; see [Bare]
}

const bareMark = "bare:"

var errMailbox = fmt.Errorf("%w: not the address of an SMP 2020 mailbox", parley.ErrRefused)

// ParseMailbox parses smp2020://KEYHASH@HOST:PORT/SID#EK. SID and EK are
// base64url without padding; EK is the modulus alone, big-endian. A fragment that
// begins with "bare:" marks a bare mailbox.
func ParseMailbox(a parley.Address) (m Mailbox, err error) {
	srv, rest, err := smp.ParseURL(string(a))
	if err != nil {
		return m, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	key, bare := strings.CutPrefix(rest.Fragment, bareMark)
	n, err := base64.RawURLEncoding.Strict().DecodeString(key)
	if err != nil {
		return m, errMailbox
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(rest.Path)
	if err != nil || strings.ContainsAny(key+rest.Path, "\r\n") {
		return m, errMailbox
	}
	return makeMailbox(srv, id, n, bare)
}

func makeMailbox(srv smp.Server, id, modulus []byte, bare bool) (m Mailbox, err error) {
	m.Server, m.Bare = srv, bare
	if m.Sender, err = smp.MakeID(id); err != nil || len(id) == 0 {
		return m, errMailbox
	}
	m.EK, err = publicKey(modulus)
	return m, err
}

// publicKey makes a key of its modulus, within the bounds of the wire.
func publicKey(modulus []byte) (*rsa.PublicKey, error) {
	if len(modulus) == 0 || modulus[0] == 0 {
		return nil, errMailbox
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}
	if _, err := smp.MarshalKey(k); err != nil {
		return nil, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	return k, nil
}

// Address returns the mailbox's address.
func (m Mailbox) Address() parley.Address {
	mark := ""
	if m.Bare {
		mark = bareMark
	}
	e := base64.RawURLEncoding.EncodeToString
	return parley.Address(m.Server.String() + "/" + e(m.Sender.Bytes()) + "#" + mark + e(m.EK.N.Bytes()))
}

// OutOfBand returns the line of the text that says the same. A plain mailbox has none.
func (m Mailbox) OutOfBand() (string, error) {
	if m.Server.Plain {
		return "", fmt.Errorf("%w: a plain relay has no key, so there is no out-of-band message for it", parley.ErrRefused)
	}
	der, err := smp.MarshalKey(m.EK)
	if err != nil {
		return "", err
	}
	return smp.OutOfBand{EncryptionKey: der, Sender: m.Sender, Server: m.Server}.String(), nil
}

// FromOutOfBand makes a bare mailbox of the text's line.
func FromOutOfBand(line string) (Mailbox, error) {
	o, err := smp.ParseOutOfBand(line)
	if err != nil {
		return Mailbox{}, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	ek, err := smp.ParseKey(o.EncryptionKey)
	if err != nil {
		return Mailbox{}, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	return Mailbox{o.Server, o.Sender, ek, true}, nil
}

// Flags in the first byte of the binary form; the others are zero.
const (
	flagPlain = 1 << iota
	flagBare
)

// AppendBinary appends the short form that goes into an invitation: flags 1, key
// hash 32 (not when plain), port 2, host length 1, host, SID length 1, SID, key
// length 2, modulus. It ends by itself. With a 2048-bit key: 311 bytes and the host.
func (m Mailbox) AppendBinary(dst []byte) ([]byte, error) {
	id, n := m.Sender.Bytes(), m.EK.N.Bytes()
	if len(m.Server.Host) > 255 {
		return dst, errMailbox
	}
	var flags byte
	if m.Bare {
		flags |= flagBare
	}
	if m.Server.Plain {
		dst = append(dst, flags|flagPlain)
	} else {
		dst = append(append(dst, flags), m.Server.KeyHash[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, m.Server.Port)
	dst = append(append(dst, byte(len(m.Server.Host))), m.Server.Host...)
	dst = append(append(dst, byte(len(id))), id...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(n)))
	return append(dst, n...), nil
}

// ParseBinary parses the short form at the start of b and returns what follows it.
func ParseBinary(b []byte) (m Mailbox, rest []byte, err error) {
	ok := true
	take := func(n int) []byte {
		if ok = ok && len(b) >= n; !ok {
			return make([]byte, n)
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	flags := take(1)[0]
	srv := smp.Server{Plain: flags&flagPlain != 0}
	if !srv.Plain {
		copy(srv.KeyHash[:], take(len(srv.KeyHash)))
	}
	srv.Port = binary.BigEndian.Uint16(take(2))
	srv.Host = string(take(int(take(1)[0])))
	id := take(int(take(1)[0]))
	n := take(int(binary.BigEndian.Uint16(take(2))))
	if !ok || flags&^(flagPlain|flagBare) != 0 {
		return Mailbox{}, nil, errMailbox
	}
	again, err := smp.ParseServer(srv.String()) // host and port
	if err != nil || again != srv {
		return Mailbox{}, nil, errMailbox
	}
	m, err = makeMailbox(srv, id, n, flags&flagBare != 0)
	return m, b, err
}

// Bare marks the address of a relay, for Claim, or of a mailbox, for Join: a
// packet is then the text's whole decryptedBody, reserved LF clientBody LF, and
// not only its clientBody.
func Bare(a parley.Address) parley.Address {
	base, frag, _ := strings.Cut(string(a), "#")
	return parley.Address(base + "#" + bareMark + strings.TrimPrefix(frag, bareMark))
}

// Relay returns the relay's part of any address of ours, for display.
func Relay(a parley.Address) (parley.Address, error) {
	srv, _, err := smp.ParseURL(string(a))
	if err != nil {
		return "", fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	return parley.Address(srv.String()), nil
}

// parseRelay parses an address for Claim.
func parseRelay(a parley.Address) (srv smp.Server, bare bool, err error) {
	srv, rest, err := smp.ParseURL(string(a))
	if err == nil && (rest.Path != "" || rest.Fragment != "" && rest.Fragment != bareMark) {
		err = fmt.Errorf("smp: %s… is a mailbox, not a relay", srv)
	}
	if err != nil {
		return srv, false, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	return srv, rest.Fragment == bareMark, nil
}
