package smp

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
)

// An OutOfBand is the invitation of the text: what a recipient gives to the
// sender over a channel both trust, as one line,
// encryptionKey SP senderConnId SP server SP serverKeyHash.
type OutOfBand struct {
	EncryptionKey []byte // EK, SPKI DER
	Sender        ID     // SID
	Server        Server // never plain
}

// ErrOutOfBand says that a line is no out-of-band message.
var ErrOutOfBand = errors.New("smp: not an out-of-band message: four fields are needed, key, ID, server and key hash")

// String returns the line, without a line end. The port is left out when it is 5223.
func (o OutOfBand) String() string {
	host := o.Server.HostPort()
	if o.Server.Port == DefaultPort {
		host = o.Server.Host
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			host = "[" + host + "]"
		}
	}
	e := base64.StdEncoding.EncodeToString
	return strings.Join([]string{e(o.EncryptionKey), o.Sender.String(), host, e(o.Server.KeyHash[:])}, " ")
}

// ParseOutOfBand parses the line; a line end after it is allowed, nothing else.
func ParseOutOfBand(s string) (OutOfBand, error) {
	var o OutOfBand
	s = strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
	f := strings.Split(s, " ")
	if len(s) > 4*maxLine || len(f) != 4 {
		return o, ErrOutOfBand
	}
	var err error
	if o.EncryptionKey, err = decode(nil, []byte(f[0])); err != nil {
		return o, ErrOutOfBand
	}
	if _, err = ParseKey(o.EncryptionKey); err != nil {
		return o, err
	}
	if len(f[1]) > maxLine {
		return o, ErrOutOfBand
	}
	if o.Sender, err = parseID([]byte(f[1])); err != nil || o.Sender.Len() == 0 {
		return o, ErrOutOfBand
	}
	if o.Server.Host, o.Server.Port, err = SplitHostPort(f[2]); err != nil {
		return o, err
	}
	hash, err := decode(nil, []byte(f[3]))
	if err != nil || len(hash) != len(o.Server.KeyHash) {
		return o, ErrOutOfBand
	}
	copy(o.Server.KeyHash[:], hash)
	return o, nil
}
