package mqtt

import (
	"fmt"
	"net/url"
	"strings"

	"parley"
)

// An Address is a topic at a broker: a mailbox of the carrier. It is written
// mqtt://HOST:PORT/TOPIC or mqtts://HOST:PORT/TOPIC, the latter perhaps with
// ?cert-sha256=HEX, and is safe to hand out: no user, password or client ID is in
// it. The topic is what follows the slash after the port; its own slashes are
// kept, so the topic /a makes mqtt://HOST:PORT//a, and every byte other than
// letters, digits and -._~!$&'()*,;=:@ is percent-encoded.
type Address struct {
	Broker Broker // without User, Password and V
	Topic  string
}

// ParseAddress parses an address of a topic. Its error says what is wrong and
// repeats nothing of it.
func ParseAddress(a parley.Address) (Address, error) {
	b, path, err := parse(string(a))
	if err != nil {
		return Address{}, err
	}
	if b.User != "" || strings.Contains(authority(string(a)), "@") {
		return Address{}, addressError("of a topic has a user or a password in it; those are set apart from it")
	}
	if b.V != 0 {
		return Address{}, addressError("of a topic has a version in it; that is each client's own affair")
	}
	raw, ok := strings.CutPrefix(path, "/")
	if !ok || raw == "" {
		return Address{}, addressError("has no topic after the broker")
	}
	topic, err := url.PathUnescape(raw)
	if err != nil {
		return Address{}, addressError("has a '%' that is no percent-encoding")
	}
	if err := CheckTopic(topic); err != nil {
		return Address{}, fmt.Errorf("in an address: %w", err)
	}
	return Address{b, topic}, nil
}

// authority returns what stands between :// and the path.
func authority(s string) string {
	_, s, _ = strings.Cut(s, "://")
	s, _, _ = strings.Cut(s, "/")
	return s
}

// String returns the address in its one canonical form.
func (a Address) String() string {
	return a.Broker.base("") + "/" + escape(a.Topic) + a.Broker.query(false)
}

// Parley returns the address as the contract has it.
func (a Address) Parley() parley.Address { return parley.Address(a.String()) }

const hexDigits = "0123456789ABCDEF"

func escape(topic string) string {
	var s strings.Builder
	for _, c := range []byte(topic) {
		if c == '/' || plain(c) {
			s.WriteByte(c)
			continue
		}
		s.WriteByte('%')
		s.WriteByte(hexDigits[c>>4])
		s.WriteByte(hexDigits[c&15])
	}
	return s.String()
}

// plain reports whether a byte stands for itself in a path (RFC 3986 §3.3); + is
// no part of a topic.
func plain(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("-._~!$&'()*,;=:@", c) >= 0
}
