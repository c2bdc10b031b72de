package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"parley"
)

// The schemes of addresses: over HTTP and over HTTPS.
const (
	Scheme    = "otc"
	SchemeTLS = "otcs"
)

// An Address is a relay, or a mailbox there. It is written otc://HOST:PORT or
// otcs://HOST:PORT (HTTPS), for a mailbox with /UID behind it and perhaps, in this
// order, ?from=UID, &open, &send=TOKEN and &receive=TOKEN. Bytes of names other than letters, digits and
// -._~ are percent-encoded.
type Address struct {
	TLS  bool
	Host string // a name in lower case, or an IP address without brackets
	Port uint16
	UID  string // whose mailbox; "" for the relay as a whole
	// From is the only sender whose messages the mailbox's owner wants by this address,
	// and the name under which who was given it sends.
	From string
	// Open: the mailbox belongs to nobody and stays usable by One Time Chat's own client.
	Open bool
	// Send is the token that sending to the mailbox needs, or "". Receive is the owner's, or
	// "": it is given to Claim by who has made it beforehand, and to nobody else.
	Send, Receive string
}

var errAddress = errors.New("not an address of a mailbox")

func bad(what string) error { return fmt.Errorf("%w: %s", errAddress, what) }

// ParseAddress parses an address. Its error says what is wrong and repeats nothing of it.
func ParseAddress(text parley.Address) (Address, error) {
	var a Address
	scheme, rest, ok := strings.Cut(string(text), "://")
	switch {
	case !ok || scheme != Scheme && scheme != SchemeTLS:
		return a, bad("it begins with neither otc:// nor otcs://")
	case len(text) > 2048:
		return a, bad("it is too long")
	case strings.Contains(rest, "#"):
		return a, bad("it has a fragment")
	}
	a.TLS = scheme == SchemeTLS
	rest, query, asked := strings.Cut(rest, "?")
	authority, path, slash := strings.Cut(rest, "/")
	var err error
	if a.Host, a.Port, err = parseHost(authority); err != nil {
		return Address{}, err
	}
	if path != "" {
		if a.UID, err = unescape(path); err != nil {
			return Address{}, err
		}
	} else if slash || asked {
		return Address{}, bad("no name follows the relay")
	}
	if asked {
		if err := a.parseQuery(query); err != nil {
			return Address{}, err
		}
	}
	return a, nil
}

func (a *Address) parseQuery(query string) error {
	for part := range strings.SplitSeq(query, "&") {
		key, value, given := strings.Cut(part, "=")
		switch {
		case key == "from" && given && a.From == "":
			name, err := unescape(value)
			if err != nil {
				return err
			}
			a.From = name
		case key == "open" && !given && !a.Open:
			a.Open = true
		case key == "send" && a.Send == "" || key == "receive" && a.Receive == "":
			if !IsToken(value) {
				return bad("its token is not one")
			}
			if key == "send" {
				a.Send = value
			} else {
				a.Receive = value
			}
		default:
			return bad("it has a parameter that is unknown, or twice; from, open, send and receive are known")
		}
	}
	if a.Open && (a.Send != "" || a.Receive != "") {
		return bad("an open mailbox has no token")
	}
	return nil
}

// unescape reads a name in its one encoding.
func unescape(s string) (string, error) {
	name, err := url.PathUnescape(s)
	if err != nil {
		return "", bad("it has a '%' that is no percent-encoding")
	}
	if err := CheckUID(name); err != nil {
		return "", bad(err.Error())
	}
	return name, nil
}

func parseHost(s string) (string, uint16, error) {
	if strings.Contains(s, "@") {
		return "", 0, bad("it has a user in it")
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", 0, bad("it has no port")
	}
	host, digits := s[:i], s[i+1:]
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || digits[0] == '0' {
		return "", 0, bad("its port is not from 1 to 65535")
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", 0, bad("what is in brackets is no IPv6 address")
		}
		return ip.String(), uint16(port), nil
	}
	if !isHostName(host) {
		return "", 0, bad("its host is neither a name nor an IP address")
	}
	return strings.ToLower(host), uint16(port), nil
}

func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// Server is the address without a mailbox.
func (a Address) Server() Address { return Address{TLS: a.TLS, Host: a.Host, Port: a.Port} }

// URL is where the relay's paths begin, without a slash at its end.
func (a Address) URL() string {
	if a.TLS {
		return "https://" + a.authority()
	}
	return "http://" + a.authority()
}

func (a Address) authority() string {
	host := a.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(a.Port))
}

// String returns the address in its one canonical form.
func (a Address) String() string {
	var b strings.Builder
	b.WriteString(Scheme)
	if a.TLS {
		b.WriteByte('s')
	}
	b.WriteString("://" + a.authority())
	if a.UID == "" {
		return b.String()
	}
	b.WriteString("/" + escape(a.UID))
	mark := byte('?')
	add := func(s string) {
		b.WriteByte(mark)
		b.WriteString(s)
		mark = '&'
	}
	if a.From != "" {
		add("from=" + escape(a.From))
	}
	if a.Open {
		add("open")
	}
	if a.Send != "" {
		add("send=" + a.Send)
	}
	if a.Receive != "" {
		add("receive=" + a.Receive)
	}
	return b.String()
}

// Parley returns the address as the contract has it.
func (a Address) Parley() parley.Address { return parley.Address(a.String()) }

func escape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}
