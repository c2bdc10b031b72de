package builtin

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"testing"
	"time"

	"parley"
	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
	"parley/parleytest"
)

func someKeys(t *testing.T, n int) (all []*rsa.PrivateKey) {
	t.Helper()
	for range n {
		k, err := rsakey.Generate(rsakey.MinBits)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	return all
}

// TestNESRefusedOffers are remembered, each of several, whatever the directory answers
// in between; and an offer is gone when the directory goes back to a refused one.
func TestNESRefusedOffers(t *testing.T) {
	k := someKeys(t, 7)
	pub := func(i int) string { return string(rsakey.EncodePublic(&k[i].PublicKey)) }
	b := parleytest.NewBucket()
	b.Put(keyDirectory, []byte("http://d"))
	client.Pins{Bucket: b}.Set("alice", client.Pin{Keys: keydir.Keys{Message: &k[1].PublicKey, Sign: &k[2].PublicKey}, Directory: "http://d", Since: time.Now()})
	s := nesSystem{}
	learn := func(i int) (refused, changed, withdrawn bool) {
		t.Helper()
		f := answer{Key: rsakey.DER(&k[0].PublicKey)}
		f.Answer.MessageKey, f.Answer.SignKey = pub(i), pub(i+1)
		j, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		n, err := s.Learn(b, "alice", j)
		if err != nil {
			t.Fatal(err)
		}
		return n.Refused, n.Changed, n.Withdrawn
	}
	refuse := func() {
		t.Helper()
		if err := s.Refuse(b, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	const pinned, one, other = 1, 3, 5
	learn(one)
	refuse()
	for _, between := range []int{one, pinned} {
		learn(between)
		if refused, changed, _ := learn(one); !refused || changed {
			t.Errorf("offered again after %d", between)
		}
	}
	learn(other)
	if refused, _, withdrawn := learn(one); !refused || !withdrawn || b.Get(offerPrefix+"alice") != nil {
		t.Error("the other offer stands, although the directory has gone back")
	}
	learn(other)
	refuse()
	for _, i := range []int{one, other} {
		if refused, changed, _ := learn(i); !refused || changed {
			t.Errorf("%d is offered again", i)
		}
	}
	if err := s.Refuse(b, "alice"); err == nil {
		t.Error("nothing was refused")
	}
}

// TestNESSkippedKeys: it is told when keys changed more than once since the last look.
func TestNESSkippedKeys(t *testing.T) {
	k := someKeys(t, 5)
	for version, want := range map[int64]bool{2: false, 3: true} {
		b := parleytest.NewBucket()
		b.Put(keyDirectory, []byte("http://d"))
		client.Pins{Bucket: b}.Set("alice", client.Pin{Keys: keydir.Keys{Message: &k[1].PublicKey, Sign: &k[2].PublicKey}, Directory: "http://d", Version: 1, Since: time.Now()})
		f := answer{Key: rsakey.DER(&k[0].PublicKey), Answer: keydir.Answer{
			MessageKey: string(rsakey.EncodePublic(&k[3].PublicKey)), SignKey: string(rsakey.EncodePublic(&k[4].PublicKey)), Username: "alice", Version: version,
			LogSeq: version, LogHash: keydir.NoHash,
		}}
		j, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := (nesSystem{}).Learn(b, "alice", j); err != nil || !n.Changed || n.Skipped != want {
			t.Errorf("version %d: %+v, %v", version, n, err)
		}
	}
}

// TestNESOldKeys: the key that was in use outlasts rotations that were refused, and the
// last key that was not taken still opens.
func TestNESOldKeys(t *testing.T) {
	k := someKeys(t, 4)
	der := func(i int) []byte {
		d, err := x509.MarshalPKCS8PrivateKey(k[i])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var b parley.Bucket = parleytest.NewBucket()
	next := func(i int) { b.Put(nextMessage, der(i)); b.Put(nextSign, der(3)) }
	b.Put(keyMessage, der(0))
	b.Put(keySign, der(3))
	next(1)
	if err := (nesSystem{}).Rotated(b, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 * maxOldKeys {
		next(2)
		nesSystem{}.Unchanged(b)
	}
	all, err := decrypters(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		found := false
		for _, d := range all {
			found = found || bytes.Equal(rsakey.DER(d.Public().(*rsa.PublicKey)), rsakey.DER(&k[i].PublicKey))
		}
		if !found {
			t.Errorf("key %d opens nothing any more", i)
		}
	}
}
