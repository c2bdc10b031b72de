package frontlimit

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// Only proxies that were named are believed, and of what they say only the last hop.
func TestClient(t *testing.T) {
	proxies := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48")}
	for i, x := range []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:1", nil, "192.0.2.1/32"},
		{"[::ffff:192.0.2.1]:1", nil, "192.0.2.1/32"},
		{"[2001:db8::1]:1", nil, "2001:db8::/64"},
		{"[2001:db8::ffff:1]:1", nil, "2001:db8::/64"},
		{"[2001:db8:0:1::1]:1", nil, "2001:db8:0:1::/64"},
		{"[fe80::1%eth0]:1", nil, "fe80::/64"},
		{"192.0.2.1:1", []string{"198.51.100.1"}, "192.0.2.1/32"}, // no proxy
		{"10.1.2.3:1", []string{"198.51.100.1"}, "198.51.100.1/32"},
		{"[::ffff:10.1.2.3]:1", []string{"198.51.100.1"}, "198.51.100.1/32"},
		{"[2001:db8:f::1]:1", []string{"2001:db8:1:2:3::"}, "2001:db8:1:2::/64"},
		{"10.1.2.3:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1/32"},
		{"10.1.2.3:1", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1/32"}, // what the client itself has put before
		{"10.1.2.3:1", []string{"1.1.1.1", "198.51.100.1"}, "198.51.100.1/32"},
		{"10.1.2.3:1", []string{"unknown"}, "10.1.2.3/32"},
		{"10.1.2.3:1", []string{"198.51.100.1,"}, "10.1.2.3/32"},
		{"10.1.2.3:1", []string{"198.51.100.1:80"}, "10.1.2.3/32"},
		{"10.1.2.3:1", []string{""}, "10.1.2.3/32"},
		{"@", []string{"198.51.100.1"}, "invalid Prefix"}, // a Unix socket
		{"", nil, "invalid Prefix"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = x.remote
		if x.forwarded != nil {
			r.Header = http.Header{"X-Forwarded-For": x.forwarded}
		}
		if got := proxies.Client(r).String(); got != x.want {
			t.Errorf("%d: %s, want %s", i, got, x.want)
		}
	}
}

func FuzzClient(f *testing.F) {
	f.Add("10.1.2.3:1", "1.1.1.1, 198.51.100.1")
	f.Add("[::1%x]:1", "::ffff:1.2.3.4%y")
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		alone := Network(RemoteIP(remote))
		if got := (Proxies{}).Client(r); got != alone {
			t.Errorf("%q is believed: %v", forwarded, got)
		}
		all := Proxies{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		got := all.Client(r)
		if got.IsValid() && (got != got.Masked() || got.Addr().Is4() && got.Bits() != 32 || got.Addr().Is6() && got.Bits() != 64 || got.Addr().Is4In6()) {
			t.Errorf("%q, %q: %v is no network", remote, forwarded, got)
		}
	})
}
