package main

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"parley"
	otcrelay "parley/carrier/relay"
)

// An otcPlace is a relay that somebody has named.
type otcPlace struct {
	at    otcrelay.Address // where it is asked
	typed string           // as the original's client writes it
	// names are its spellings. The device keeps the cursor, and this machine the lock and
	// the packages, by the first; by the others, earlier runs or the original's client may
	// have left some.
	names []string
}

var errOTCRelay = errors.New("a relay is PORT, HOST:PORT, http://HOST:PORT or https://HOST:PORT")

// otcRelay reads a relay's address as the original does: a number is a port on this
// machine, and http:// is added where no scheme stands.
func otcRelay(text string) (p otcPlace, err error) {
	p.typed = text
	if _, err := strconv.Atoi(text); err == nil {
		p.typed = "http://localhost:" + text
	} else if !strings.Contains(text, "://") {
		p.typed = "http://" + text
	}
	u, err := url.Parse(p.typed)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return otcPlace{}, errOTCRelay
	}
	scheme, port, usual := otcrelay.Scheme, u.Port(), "80"
	if u.Scheme == "https" {
		scheme, usual = otcrelay.SchemeTLS, "443"
	}
	host := strings.TrimSuffix(u.Host, ":"+port)
	if port == "" {
		port = usual
	}
	if p.at, err = otcrelay.ParseAddress(parley.Address(scheme + "://" + host + ":" + port)); err != nil {
		return otcPlace{}, errOTCRelay
	}
	p.names = otcNames(u.Scheme, p.at.Host, port, usual)
	if !slices.Contains(p.names, p.typed) {
		p.names = append(p.names, p.typed)
	}
	return p, nil
}

// otcNames returns the spellings of a relay, the one that counts first: in lower case,
// without a slash, and without the usual port; this machine is localhost and always with
// its port, as the original writes what it is given as a number.
func otcNames(scheme, host, port, usual string) (names []string) {
	hosts, ports := []string{strings.TrimSuffix(host, ".")}, []string{":" + port}
	ip, err := netip.ParseAddr(host)
	ip = ip.Unmap()
	switch {
	case hosts[0] == "localhost", err == nil && (ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback()):
		hosts = []string{"localhost", "127.0.0.1", "[::1]"}
		if port == usual {
			ports = append(ports, "")
		}
	default:
		if err == nil && ip.Is6() {
			hosts[0] = "[" + ip.String() + "]"
		} else if err == nil {
			hosts[0] = ip.String()
		}
		if port == usual {
			ports = []string{"", ":" + port}
		}
	}
	for _, slash := range []string{"", "/"} {
		for _, h := range hosts {
			for _, p := range ports {
				names = append(names, scheme+"://"+h+p+slash)
			}
		}
	}
	return names
}
