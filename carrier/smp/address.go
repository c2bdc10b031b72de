package smp

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Schemes of addresses, and the port of those that name none.
const (
	Scheme      = "smp2020"
	SchemePlain = "smp2020-plain"
	DefaultPort = 5223
)

// A KeyHash is the SHA-256 of a server's public key (SPKI DER). It is what a
// client knows the server by.
type KeyHash [sha256.Size]byte

// HashKey returns the hash of a public key in SPKI DER.
func HashKey(der []byte) KeyHash { return sha256.Sum256(der) }

// String returns the hash as it stands in an address: base64url without padding.
func (h KeyHash) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// A Server says where a server is and how to know it. It is comparable.
type Server struct {
	Host    string // name or IP address, without brackets
	Port    uint16
	KeyHash KeyHash // zero when plain
	Plain   bool    // lines in clear, for telnet and tests on one's own machine
}

// ParseServer parses smp2020://KEYHASH@HOST[:PORT] or smp2020-plain://HOST[:PORT].
func ParseServer(s string) (Server, error) {
	srv, frag, err := ParseURL(s)
	if err != nil {
		return Server{}, err
	}
	if frag.Path != "" || frag.Fragment != "" {
		return Server{}, addressError("has more after the port than a relay's address may have")
	}
	return srv, nil
}

// Rest is what follows the server in an address: the connection and its key,
// which are the clients' affair.
type Rest struct{ Path, Fragment string }

// ParseURL splits an address into the server and what follows it.
func ParseURL(s string) (Server, Rest, error) {
	if len(s) > 4096 {
		return Server{}, Rest{}, addressError("is longer than 4096 characters")
	}
	u, err := url.Parse(s)
	if err != nil {
		return Server{}, Rest{}, addressError("is not a URL")
	}
	srv := Server{Plain: u.Scheme == SchemePlain}
	if u.Scheme != Scheme && !srv.Plain {
		return Server{}, Rest{}, addressError("does not begin with " + Scheme + "://")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Opaque != "" || u.RawPath != "" || u.RawFragment != "" {
		return Server{}, Rest{}, addressError("has parts that a relay's address has not")
	}
	if srv.Host, srv.Port, err = SplitHostPort(u.Host); err != nil {
		return Server{}, Rest{}, err
	}
	if srv.Plain {
		if u.User != nil {
			return Server{}, Rest{}, addressError("is plain and cannot have a key hash")
		}
	} else {
		h, err := base64.RawURLEncoding.Strict().DecodeString(u.User.Username())
		if _, password := u.User.Password(); err != nil || len(h) != len(srv.KeyHash) || password {
			return Server{}, Rest{}, addressError("has no key hash of 43 characters before the '@'")
		}
		copy(srv.KeyHash[:], h)
	}
	return srv, Rest{strings.TrimPrefix(u.Path, "/"), u.Fragment}, nil
}

// String returns the address, always with its port.
func (s Server) String() string {
	if s.Plain {
		return SchemePlain + "://" + s.HostPort()
	}
	return Scheme + "://" + s.KeyHash.String() + "@" + s.HostPort()
}

// HostPort returns what to dial.
func (s Server) HostPort() string { return net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port))) }

// Loopback reports whether the host is this machine by its address, or is named
// localhost.
func (s Server) Loopback() bool {
	ip, err := netip.ParseAddr(s.Host)
	return s.Host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// SplitHostPort parses hostname [":" port] of the text: a name of RFC 1123 or an
// IP address (version 6 in brackets), port 5223 when there is none.
func SplitHostPort(s string) (host string, port uint16, err error) {
	port = DefaultPort
	host, rest := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, addressError("has an unclosed bracket")
		}
		host, rest = s[1:end], s[end+1:]
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", 0, addressError("has no IPv6 address in its brackets")
		}
	} else {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, rest = s[:i], s[i:]
		}
		if !hostName(host) {
			return "", 0, addressError("has no valid host name")
		}
	}
	if rest != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(rest, ":"), 10, 16)
		if err != nil || n == 0 || rest[0] != ':' || rest[1] == '+' {
			return "", 0, addressError("has no valid port")
		}
		port = uint16(n)
	}
	return host, port, nil
}

func hostName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

type addressError string

func (e addressError) Error() string { return fmt.Sprintf("smp: the address %s", string(e)) }
