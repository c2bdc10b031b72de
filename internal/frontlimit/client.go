package frontlimit

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks of proxies whose X-Forwarded-For is believed.
type Proxies []netip.Prefix

// Contains reports whether an address is a proxy's.
func (p Proxies) Contains(ip netip.Addr) bool {
	for _, x := range p {
		if x.Contains(ip) {
			return true
		}
	}
	return false
}

// Client returns the network that a request comes from: behind a proxy that is
// believed, what it says of who spoke to it, the last in X-Forwarded-For. What comes
// before that was said by the client.
func (p Proxies) Client(r *http.Request) netip.Prefix {
	ip := RemoteIP(r.RemoteAddr)
	if p.Contains(ip) {
		if all := r.Header.Values("X-Forwarded-For"); len(all) > 0 {
			hops := strings.Split(all[len(all)-1], ",")
			if hop, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1])); err == nil {
				ip = hop
			}
		}
	}
	return Network(ip)
}

// RemoteIP takes the address from one with a port; the zero Addr is none.
func RemoteIP(address string) netip.Addr {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// Network is what counts as one client: an IPv4 address, or an IPv6 /64.
func Network(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
