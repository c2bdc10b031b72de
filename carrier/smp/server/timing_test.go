package smpserver

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"slices"
	"testing"
	"time"

	"parley/broker"
	"parley/broker/store/pebblestore"
	"parley/carrier/smp"
)

// attempts are commands that all end in ERR AUTH, with one signature size.
func attempts(t testing.TB, b *bench) map[string]*command {
	ctx := context.Background()
	queue := func(secured, suspended bool) (rid, sid smp.ID) {
		q, err := b.b.Create(ctx, keyBytes(&keys()[1].PublicKey), smp.IDSize, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if secured {
			if err := b.b.Secure(ctx, q.ID, keyBytes(&keys()[2].PublicKey)); err != nil {
				t.Fatal(err)
			}
		}
		if suspended {
			if err := b.b.Connect(func() {}).Hold(ctx, q.ID, func(error) {}); err != nil {
				t.Fatal(err)
			}
		}
		rid, _ = smp.MakeID(q.ID[:smp.IDSize])
		sid, _ = smp.MakeID(q.Sender[:smp.IDSize])
		return rid, sid
	}
	signed := func(id smp.ID, v smp.Verb, k *rsa.PrivateKey) *command {
		tr := smp.Transmission{ID: id, Verb: v}
		if k != nil {
			if err := tr.Sign(k); err != nil {
				t.Fatal(err)
			}
		}
		tr.Signed = tr.AppendSigned(nil)
		return newCommand(&tr)
	}
	wrong, right := keys()[3], keys()[2]
	nobody, _ := smp.MakeID(bytes.Repeat([]byte{1}, smp.IDSize))
	short, _ := smp.MakeID([]byte("short"))
	rid, secured := queue(true, false)
	_, open := queue(false, false)
	_, suspended := queue(true, true)
	_, openSuspended := queue(false, true)
	return map[string]*command{
		"SEND to nobody":                    signed(nobody, smp.SEND, wrong),
		"SEND to nobody, unsigned":          signed(nobody, smp.SEND, nil),
		"SEND to an ID of another length":   signed(short, smp.SEND, wrong),
		"SEND to a recipient's ID":          signed(rid, smp.SEND, right),
		"SEND with a wrong signature":       signed(secured, smp.SEND, wrong),
		"SEND unsigned":                     signed(secured, smp.SEND, nil),
		"SEND signed to an unsecured queue": signed(open, smp.SEND, right),
		"SEND to a suspended queue":         signed(suspended, smp.SEND, right),
		"SEND to a suspended, unsecured":    signed(openSuspended, smp.SEND, nil),
		"SUB of nobody":                     signed(nobody, smp.SUB, wrong),
		"SUB of a sender's ID":              signed(secured, smp.SUB, right),
		"SUB with a wrong signature":        signed(rid, smp.SUB, wrong),
	}
}

var raceEnabled bool

// Every way to ERR AUTH takes the same time. Tries are interleaved, and the
// fastest fifth of each counts, so that what else the machine does disturbs
// little.
func TestAuthErrorsTakeTheSameTime(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("measures")
	}
	st, err := pebblestore.Open(t.TempDir(), pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	hub := broker.New(st, broker.Options{})
	defer hub.Close()
	front, err := New(hub, keys()[0], Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, Server: front, b: hub}
	c := newConn(b.Server, &timed{s: b.Server, plain: true}, nil)
	defer c.hub.Close()
	all := attempts(t, b)
	var report string
	for range 10 { // a busy machine may need more than one try
		took := map[string][]time.Duration{}
		for range 400 {
			for name, cmd := range all {
				begin := time.Now()
				var err error
				if cmd.verb == smp.SEND {
					err = c.send(context.Background(), cmd)
				} else {
					err = c.receive(context.Background(), work{command: cmd})
				}
				took[name] = append(took[name], time.Since(begin))
				if err != smp.CodeAuth {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
		report = ""
		low, high := time.Hour, time.Duration(0)
		for name, d := range took {
			slices.Sort(d)
			m := d[len(d)/5]
			low, high = min(low, m), max(high, m)
			report += fmt.Sprintf("%8v %s\n", m, name)
		}
		if high-low < low/8 {
			t.Log("\n" + report)
			return
		}
	}
	t.Errorf("times differ by more than an eighth:\n%s", report)
}
