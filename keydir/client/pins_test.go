package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
	"parley/parleytest"
)

const (
	here  = "http://here.test"
	there = "http://there.test"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func bound(name string, version int64) keydir.Answer {
	return keydir.Answer{Username: name, Version: version}
}

func newPins() client.Pins { return client.Pins{Bucket: parleytest.NewBucket()} }

func TestPinAtFirstUse(t *testing.T) {
	p, alice := newPins(), public(t, user("alice"))
	first, err := p.Check(here, "alice", bound("alice", 3), alice, noon)
	if err != nil || !first {
		t.Fatal(first, err)
	}
	first, err = p.Check(here, "alice", bound("alice", 3), alice, noon.Add(time.Hour))
	if err != nil || first {
		t.Fatal(first, err)
	}
	pin, ok, err := p.User("alice")
	if err != nil || !ok || !pin.Keys.Equal(alice) || pin.Version != 3 || pin.Directory != here || !pin.Since.Equal(noon) {
		t.Errorf("%+v, %v, %v", pin, ok, err)
	}
	_, err = p.Check(here, "alice", bound("alice", 2), alice, noon)
	is(t, err, client.ErrOlder)
	_, err = p.Check(there, "alice", bound("alice", 1), alice, noon) // another directory counts for itself
	check(t, err)
	_, err = p.Check(here, "alice", bound("alice", 4), alice, noon)
	check(t, err)
	if pin, _, _ := p.User("alice"); pin.Version != 4 {
		t.Errorf("%+v", pin)
	}
	p.Forget("alice")
	if _, ok, _ := p.User("alice"); ok {
		t.Error("not forgotten")
	}
}

// A change stops the conversation, for ever, until a person has compared the numbers.
func TestDefect2ChangedKeys(t *testing.T) {
	p, alice, bob := newPins(), public(t, user("alice")), public(t, user("bob"))
	_, err := p.Check(here, "alice", bound("alice", 1), alice, noon)
	check(t, err)
	for range 3 {
		_, err = p.Check(here, "alice", bound("alice", 2), bob, noon)
		var c *client.ChangedError
		if !errors.As(err, &c) || !c.Old.Equal(alice) || !c.New.Equal(bob) || c.Vouched || c.User != "alice" {
			t.Fatalf("%v", err)
		}
		is(t, err, client.ErrChanged)
	}
	sig, err := rsakey.Sign(user("alice").Sign, keydir.RotationStatement("alice", 2, bob))
	check(t, err)
	a := bound("alice", 2)
	a.Rotation = &keydir.RotationProof{OldSign: rsakey.Of(alice.Sign).Hex(), Signature: rsakey.EncodeBase64(sig)}
	_, err = p.Check(here, "alice", a, bob, noon)
	var c *client.ChangedError
	if !errors.As(err, &c) || !c.Vouched {
		t.Fatalf("%v", err)
	}
	for _, wrong := range []string{"", "x", client.Fingerprint(alice).Hex(), client.Fingerprint(bob).Hex()[2:], rsakey.Of(bob.Sign).Hex()} {
		is(t, p.Accept(here, "alice", a, bob, wrong, noon), client.ErrFingerprint)
	}
	if pin, _, _ := p.User("alice"); !pin.Keys.Equal(alice) {
		t.Error("the pin has changed")
	}
	is(t, p.Accept(here, "alice", bound("alice", 0), bob, client.Fingerprint(bob).Hex(), noon), client.ErrOlder)
	check(t, p.Accept(here, "alice", a, bob, strings.ToUpper(client.Fingerprint(bob).String()), noon))
	_, err = p.Check(here, "alice", a, bob, noon)
	check(t, err)
	_, err = p.Check(here, "alice", bound("alice", 1), alice, noon)
	is(t, err, client.ErrOlder)
}

// Answers that name nobody: none any more once names came, and none of another's.
func TestDefect2UnboundAnswers(t *testing.T) {
	p, alice, bob := newPins(), public(t, user("alice")), public(t, user("bob"))
	key := &private(world().Users["alice"].Sign.Private).PublicKey
	first, err := p.PinProvider(here, key)
	if err != nil || !first {
		t.Fatal(first, err)
	}
	first, err = p.PinProvider(here, key)
	if err != nil || first {
		t.Fatal(first, err)
	}
	_, err = p.PinProvider(here, &private(world().Users["bob"].Sign.Private).PublicKey)
	is(t, err, client.ErrProviderChanged)
	_, err = p.Check(here, "alice", keydir.Answer{}, alice, noon)
	check(t, err)
	_, err = p.Check(here, "bobby", keydir.Answer{}, alice, noon)
	is(t, err, client.ErrOtherName)
	_, err = p.Check(here, "bobby", bound("bobby", 1), bob, noon)
	check(t, err)
	if v, _, _ := p.Provider(here); !v.Binds {
		t.Error("that it names users was not remembered")
	}
	_, err = p.Check(here, "alice", keydir.Answer{}, alice, noon)
	is(t, err, client.ErrUnbound)
	is(t, p.Accept(here, "alice", keydir.Answer{}, alice, client.Fingerprint(alice).Hex(), noon), client.ErrUnbound)
	v, ok, err := p.Provider(here)
	if err != nil || !ok || !v.Key.Equal(key) {
		t.Errorf("%+v, %v", v, err)
	}
	v.Head = keydir.Head{Size: 3, Hash: keydir.NoHash}
	p.SetProvider(here, v)
	if got, _, _ := p.Provider(here); got.Head != v.Head {
		t.Errorf("%+v", got)
	}
}

func TestPinsOfAPerson(t *testing.T) {
	p, alice, bob := newPins(), public(t, user("alice")), public(t, user("bob"))
	p.Set("alice", client.Pin{Keys: alice, Since: noon})
	_, err := p.Check(here, "alice", bound("alice", 5), bob, noon)
	is(t, err, client.ErrChanged)
	_, err = p.Check(here, "alice", bound("alice", 5), alice, noon)
	check(t, err)
	_, err = p.Check(here, "alice", bound("alice", 4), alice, noon)
	is(t, err, client.ErrOlder)
	n := 0
	for name, pin := range p.Users() {
		if n++; name != "alice" || pin.Version != 5 {
			t.Errorf("%s: %+v", name, pin)
		}
	}
	if n != 1 {
		t.Errorf("%d users", n)
	}
}

func TestDamagedPins(t *testing.T) {
	for _, v := range []string{"", "{", `{"message":"AAAA","sign":"AAAA"}`, `{"key":"AAAA"}`} {
		p := newPins()
		p.Bucket.Put("user/alice", []byte(v))
		p.Bucket.Put("directory/"+here, []byte(v))
		_, _, err := p.User("alice")
		is(t, err, client.ErrPins)
		_, err = p.Check(here, "alice", bound("alice", 1), public(t, user("alice")), noon)
		is(t, err, client.ErrPins)
		_, _, err = p.Provider(here)
		is(t, err, client.ErrPins)
	}
}
