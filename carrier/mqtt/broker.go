// Package mqtt has what both ends of MQTT share here: how a broker and a topic are
// written as addresses, and the rules for names of topics and for filters
// (OASIS MQTT 3.1.1 and MQTT 5.0). The client is in the package client below it,
// the broker in server.
package mqtt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Schemes of addresses, and the ports of those that name none.
const (
	Scheme         = "mqtt"
	SchemeTLS      = "mqtts"
	DefaultPort    = 1883
	DefaultPortTLS = 8883
)

// Protocol levels as they stand in CONNECT (MQTT 3.1.1 §3.1.2.2, MQTT 5 §3.1.2.2).
const (
	V311 = 4
	V5   = 5
)

// A Broker says where a broker is, how to know it, and who we are to it.
type Broker struct {
	Host string // name or IP address, without brackets
	Port uint16
	TLS  bool
	// User and Password log in; both may be empty. They stand in no [Address].
	User, Password string
	// CertSHA256 is the SHA-256 of the broker's certificate (DER). If it is there,
	// it alone counts: certificates that nobody signed will do. Else the system's
	// roots decide.
	CertSHA256 []byte
	// V is the version of the protocol: [V311], [V5], or 0 to try 5 and then 3.1.1.
	V int
}

// ParseBroker parses mqtt://[USER[:PASSWORD]@]HOST[:PORT], or mqtts:// for TLS.
// After it may follow ?cert-sha256=HEX (only mqtts; the certificate's 64 hex
// digits, with or without colons), ?v=4 or ?v=5, joined by &. Special characters
// in the user and the password are percent-encoded. No error repeats the text,
// since the password is in it.
func ParseBroker(s string) (Broker, error) {
	b, path, err := parse(s)
	if err != nil {
		return Broker{}, err
	}
	if path != "" && path != "/" {
		return Broker{}, addressError("has a topic after the broker; give the topic by itself")
	}
	return b, nil
}

// parse splits a URL into the broker and the path as it was written.
func parse(s string) (b Broker, path string, err error) {
	if len(s) > 4*MaxTopic {
		return b, "", addressError("is too long")
	}
	u, err := url.Parse(s)
	if err != nil {
		return b, "", addressError("is not a URL (special characters in a user, a password or a topic must be percent-encoded)")
	}
	b.TLS = u.Scheme == SchemeTLS
	if u.Scheme != Scheme && !b.TLS || u.Opaque != "" {
		return b, "", addressError("does not begin with mqtt:// or mqtts://")
	}
	if strings.ContainsRune(s, '#') {
		return b, "", addressError("has a '#', which must be written %23")
	}
	if b.Host, b.Port, err = splitHostPort(u.Host, b.TLS); err != nil {
		return b, "", err
	}
	if u.User != nil {
		b.User = u.User.Username()
		b.Password, _ = u.User.Password()
		if err := checkLogin(b.User, b.Password); err != nil {
			return b, "", err
		}
	}
	if u.ForceQuery || u.RawQuery != "" {
		if err := b.parseQuery(u.RawQuery); err != nil {
			return b, "", err
		}
	}
	return b, u.EscapedPath(), nil
}

func checkLogin(user, password string) error {
	if user == "" && password != "" {
		return addressError("has a password and no user")
	}
	if user != "" && checkText(user, "user") != nil {
		return addressError("has a user that is not a text of at most 65,535 bytes")
	}
	if len(password) > MaxTopic {
		return addressError("has a password longer than 65,535 bytes")
	}
	return nil
}

func (b *Broker) parseQuery(query string) error {
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(part, "=")
		if seen[key] {
			return addressError("says something twice after the '?'")
		}
		seen[key] = true
		switch key {
		case "cert-sha256":
			pin, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(value, "%3A", ""), ":", ""))
			if err != nil || len(pin) != sha256.Size {
				return addressError("has no 64 hex digits after cert-sha256=")
			}
			if !b.TLS {
				return addressError("has a certificate's hash but no TLS; begin it with mqtts://")
			}
			b.CertSHA256 = pin
		case "v":
			if value != "4" && value != "5" {
				return addressError("has a version other than v=4 (MQTT 3.1.1) and v=5")
			}
			b.V = int(value[0] - '0')
		default:
			return addressError("has something after the '?' other than cert-sha256= and v=")
		}
	}
	return nil
}

// String returns the broker, always with its port and never with the password.
func (b Broker) String() string {
	user := ""
	if b.User != "" {
		user = url.User(b.User).String() + "@"
	}
	return b.base(user) + b.query(true)
}

// Address returns where the broker is, and no word on who we are.
func (b Broker) Address() string { return b.base("") + b.query(false) }

func (b Broker) base(user string) string {
	scheme := Scheme
	if b.TLS {
		scheme = SchemeTLS
	}
	return scheme + "://" + user + b.HostPort()
}

func (b Broker) query(version bool) string {
	var parts []string
	if len(b.CertSHA256) > 0 {
		parts = append(parts, "cert-sha256="+hex.EncodeToString(b.CertSHA256))
	}
	if version && b.V != 0 {
		parts = append(parts, "v="+strconv.Itoa(b.V))
	}
	if parts == nil {
		return ""
	}
	return "?" + strings.Join(parts, "&")
}

// HostPort returns what to dial.
func (b Broker) HostPort() string { return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))) }

// Loopback reports whether the host is this machine by its address, or is named
// localhost. Elsewhere, without TLS, the password travels for all to read.
func (b Broker) Loopback() bool {
	ip, err := netip.ParseAddr(b.Host)
	return b.Host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Equal reports whether both are the same broker and the same user of it.
func (b Broker) Equal(o Broker) bool {
	return b.Host == o.Host && b.Port == o.Port && b.TLS == o.TLS && b.User == o.User && b.Password == o.Password &&
		bytes.Equal(b.CertSHA256, o.CertSHA256) && b.V == o.V
}
