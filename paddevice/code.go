package paddevice

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"parley"
)

// A pairing code is good for CodeLife, for one client, and for MaxAttempts wrong secrets.
const (
	CodeLife    = 10 * time.Minute
	MaxAttempts = 5
)

// A Code is what a client needs to pair: where the device is, its key, and a secret that
// is used once.
type Code struct {
	Address string // HOST:PORT
	Device  Fingerprint
	Secret  [16]byte
}

const (
	codePrefix  = "PARLEY-PAD:"
	codeVersion = 1
	codeSum     = 4
	maxAddress  = 255
)

var base32Code = base32.StdEncoding.WithPadding(base32.NoPadding)

// String is the code as text, in the capitals that a QR code holds best:
//
//	PARLEY-PAD: base32( version 1 | fingerprint 32 | secret 16 | address | sum 4 )
//
// where sum is the beginning of the SHA-256 of what is before it, against typing errors.
func (c Code) String() string {
	b := append([]byte{codeVersion}, c.Device[:]...)
	b = append(b, c.Secret[:]...)
	b = append(b, c.Address...)
	sum := sha256.Sum256(b)
	return codePrefix + base32Code.EncodeToString(append(b, sum[:codeSum]...))
}

// ParseCode reads a code; spaces and line ends in it, and small letters, do no harm. The
// error is [parley.ErrMalformed].
func ParseCode(s string) (c Code, err error) {
	bad := func(why string) (Code, error) {
		return Code{}, fmt.Errorf("%w: this is no pairing code of a pad device: %s", parley.ErrMalformed, why)
	}
	s = strings.ToUpper(strings.Join(strings.Fields(s), ""))
	text, ok := strings.CutPrefix(s, codePrefix)
	if !ok {
		return bad("it does not begin with " + codePrefix)
	}
	b, err := base32Code.DecodeString(text)
	fixed := 1 + len(c.Device) + len(c.Secret)
	if err != nil || base32Code.EncodeToString(b) != text || len(b) <= fixed+codeSum || len(b) > fixed+maxAddress+codeSum {
		return bad("a part of it is missing or too much")
	}
	b, end := b[:len(b)-codeSum], b[len(b)-codeSum:]
	if sum := sha256.Sum256(b); string(sum[:codeSum]) != string(end) {
		return bad("a letter of it is wrong")
	}
	if b[0] != codeVersion {
		return bad("it is of a newer kind")
	}
	copy(c.Device[:], b[1:])
	copy(c.Secret[:], b[1+len(c.Device):])
	c.Address = string(b[fixed:])
	if err := ValidAddress(c.Address); err != nil {
		return bad(err.Error())
	}
	return c, nil
}

// ValidAddress says what is wrong with an address HOST:PORT that a client is to dial.
func ValidAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	n, err2 := strconv.ParseUint(port, 10, 16)
	if err != nil || err2 != nil || n == 0 || host == "" || len(address) > maxAddress {
		return fmt.Errorf("its address is not HOST:PORT")
	}
	for _, r := range address {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\@?#"'`, r) {
			return fmt.Errorf("its address has %q in it", r)
		}
	}
	return nil
}
