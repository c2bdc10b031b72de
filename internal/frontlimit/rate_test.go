package frontlimit

import (
	"net/netip"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	l := NewRate(2, 3)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alice, bob := Network(netip.MustParseAddr("192.0.2.1")), Network(netip.MustParseAddr("192.0.2.2"))
	allow := func(network netip.Prefix, want time.Duration) {
		t.Helper()
		if wait, ok := l.Allow(network, now); wait != want || ok != (want == 0) {
			t.Errorf("%v, %v, want %v", wait, ok, want)
		}
	}
	for range 3 {
		allow(alice, 0)
	}
	for range 2 { // who asks in vain does not wait longer for it
		allow(alice, time.Second/2)
	}
	allow(bob, 0)
	now = now.Add(time.Second / 4)
	allow(alice, time.Second/4)
	now = now.Add(time.Second / 4)
	allow(alice, 0)
	allow(alice, time.Second/2)
	now = now.Add(time.Hour) // no more than the burst
	for range 3 {
		allow(alice, 0)
	}
	allow(alice, time.Second/2)
}

// There are never too many to remember, and who is there now is not forgotten for them.
func TestManyNetworks(t *testing.T) {
	l := NewRate(1, 2)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alice := Network(netip.MustParseAddr("192.0.2.1"))
	l.Allow(alice, now)
	l.Allow(alice, now)
	for i := range networks + 100 {
		l.Allow(Network(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), now)
		if i%1000 == 0 {
			if _, ok := l.Allow(alice, now); ok {
				t.Fatalf("forgotten after %d others", i)
			}
		}
	}
	if n := l.buckets.Len(); n != networks {
		t.Errorf("%d networks", n)
	}
}
