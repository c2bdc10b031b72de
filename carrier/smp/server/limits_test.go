package smpserver

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"

	"parley/broker"
	"parley/carrier/smp"
)

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b budget
		b.init(100)
		b.take(60)
		taken := false
		go func() { b.take(1000); taken = true }() // more than all counts as all
		synctest.Wait()
		if taken {
			t.Fatal("took 100 of 40")
		}
		b.give(60)
		synctest.Wait()
		if !taken {
			t.Fatal("did not take 100 of 100")
		}
		b.give(1000)
		if b.left != 100 {
			t.Errorf("%d left of 100", b.left)
		}
	})
}

// Commands give back what they took, however they end.
func TestBudgetIsGivenBack(t *testing.T) {
	b := newBench(t, Options{Memory: 4096}, broker.Options{})
	d := b.device()
	rid, sid := d.create()
	for range 20 { // 20 times 3 KB through 4 KB
		d.send(d.raw(smp.Transmission{Verb: smp.SEND, ID: rid, Body: make([]byte, 3000)}, false))
		d.want(rid, smp.ERR, smp.CodeAuth)
	}
	d.send(d.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("x")}, false))
	for n := 0; n < 2; n++ {
		d.next() // OK and MSG
	}
	d.does(rid, smp.DEL)
	b.memory.mu.Lock()
	defer b.memory.mu.Unlock()
	if b.memory.left > b.memory.all {
		t.Errorf("%d of %d bytes left", b.memory.left, b.memory.all)
	}
}

func TestHostOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7/32",
		"::ffff:192.0.2.7":     "192.0.2.7/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
	} {
		if got := hostOf(&net.TCPAddr{IP: net.ParseIP(addr)}); got != netip.MustParsePrefix(want) {
			t.Errorf("%s counts as %v, want %s", addr, got, want)
		}
	}
}
