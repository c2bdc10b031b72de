package mqtt

import (
	"net/netip"
	"strconv"
	"strings"
)

// splitHostPort parses a name or an IP address (version 6 in brackets) and a port.
func splitHostPort(s string, tls bool) (host string, port uint16, err error) {
	port = DefaultPort
	if tls {
		port = DefaultPortTLS
	}
	host, rest := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, addressError("has an unclosed bracket")
		}
		host, rest = s[1:end], s[end+1:]
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", 0, addressError("has no IPv6 address in its brackets")
		}
		host = ip.String()
	} else {
		if i := strings.IndexByte(s, ':'); i >= 0 {
			host, rest = s[:i], s[i:]
		}
		if !hostName(host) {
			return "", 0, addressError("has no valid host name")
		}
		host = strings.ToLower(host)
	}
	if rest != "" {
		digits, ok := strings.CutPrefix(rest, ":")
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 || !ok || digits[0] == '+' {
			return "", 0, addressError("has no valid port")
		}
		port = uint16(n)
	}
	return host, port, nil
}

// hostName reports whether s is an IPv4 address or a name. Underscores are not in
// RFC 1123, but names in home networks and containers have them.
func hostName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return true
}

// An addressError never holds any of the text it is about.
type addressError string

func (e addressError) Error() string { return "mqtt: the address " + string(e) }
