package content

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"parley"
)

// A Member is a person as a group knows them.
type Member struct {
	Name parley.Name
	Keys []PublicKey // may be empty
}

// A Membership changes who belongs to a group. Each one cites the one before it,
// so that all members see one history; it is signed so that any member can pass
// it on. Only the exact bytes of Encode are accepted.
type Membership struct {
	Group     []byte   // 1 to MaxGroup bytes
	Epoch     uint64   // 1 for the first change, then one more each time
	Previous  [32]byte // Digest of the change before; zero in the first
	Add       []Member
	Remove    []parley.Name
	By        parley.Name
	Signature []byte // by By over Signed(); its form is the key's affair
}

// AMP returns [parley.Membership].
func (Membership) AMP() parley.AMP { return parley.Membership }

// Signed returns the bytes that Signature covers: a fixed prefix and all other
// fields.
func (e Membership) Signed() []byte {
	e.Signature = nil
	return e.append([]byte("parley membership 71.1\x00"))
}

// Digest is what the next change cites as Previous: it covers the signature too.
func (e Membership) Digest() [32]byte { return sha256.Sum256(e.append(nil)) }

func (e Membership) check() error {
	if len(e.Group) < 1 || len(e.Group) > MaxGroup {
		return fmt.Errorf("a group ID of %d bytes, not 1 to %d", len(e.Group), MaxGroup)
	}
	if e.Epoch == 0 {
		return errors.New("the epoch is zero")
	}
	if (e.Epoch == 1) != (e.Previous == [32]byte{}) {
		return errors.New("the first change of a group cites none, and every other one does")
	}
	if len(e.Add)+len(e.Remove) == 0 {
		return errors.New("no member is added or removed")
	}
	if err := checkCount("members", max(len(e.Add), len(e.Remove))); err != nil {
		return err
	}
	names := make(map[parley.Name]bool, len(e.Add)+len(e.Remove))
	for _, m := range e.Add {
		if err := checkMember(m.Name, names); err != nil {
			return err
		}
		if err := checkKeys(m.Keys); err != nil {
			return err
		}
	}
	for _, n := range e.Remove {
		if err := checkMember(n, names); err != nil {
			return err
		}
	}
	if len(e.Signature) > MaxSignature {
		return fmt.Errorf("the signature is %w: %d bytes, at most %d", ErrTooLong, len(e.Signature), MaxSignature)
	}
	return checkName("the signer's name", string(e.By))
}

func checkMember(n parley.Name, seen map[parley.Name]bool) error {
	if seen[n] {
		return errors.New("a member is named twice")
	}
	seen[n] = true
	return checkName("a member's name", string(n))
}

func (e Membership) append(b []byte) []byte {
	b = putBytes(b, 1, e.Group)
	b = putUint(b, 2, e.Epoch)
	if e.Previous != ([32]byte{}) {
		b = putElement(b, 3, e.Previous[:])
	}
	for _, m := range e.Add {
		b = putElement(b, 4, putKeys(putString(nil, 1, string(m.Name)), 2, m.Keys))
	}
	b = putStrings(b, 5, e.Remove)
	b = putString(b, 6, string(e.By))
	return putBytes(b, 7, e.Signature)
}

func decodeMembership(body []byte) (Event, error) {
	var e Membership
	err := parse(body, slots{
		1: toBytes(&e.Group, MaxGroup),
		2: toUint(&e.Epoch),
		3: toArray(e.Previous[:]),
		4: toList(&e.Add, asMember),
		5: toList(&e.Remove, asString[parley.Name]),
		6: toString(&e.By),
		7: toBytes(&e.Signature, MaxSignature),
	})
	return e, err
}

func asMember(b []byte) (m Member, err error) {
	err = parse(b, slots{1: toString(&m.Name), 2: toList(&m.Keys, asKey)})
	return m, err
}

func putKeys(b []byte, n protowire.Number, keys []PublicKey) []byte {
	for _, k := range keys {
		b = putElement(b, n, putBytes(putString(nil, 1, string(k.Kind)), 2, k.Public))
	}
	return b
}

func asKey(b []byte) (k PublicKey, err error) {
	err = parse(b, slots{1: toString(&k.Kind), 2: toBytes(&k.Public, MaxKey)})
	return k, err
}
