package content

import (
	"errors"
	"fmt"

	"parley"
)

// A PublicKey is one key of a device or member.
type PublicKey struct {
	Kind   parley.KeyKind // printable ASCII, 1 to 64 bytes
	Public []byte         // 1 to MaxKey bytes, in the kind's own format
}

// A Device is one of a person's devices.
type Device struct {
	ID   [16]byte
	Name string // may be empty
	Keys []PublicKey
}

// Devices adds devices to a person or takes some away. Only the exact bytes of
// Encode are accepted.
type Devices struct {
	Add    []Device
	Remove [][16]byte // their IDs
}

// AMP returns [parley.Devices].
func (Devices) AMP() parley.AMP { return parley.Devices }

func (e Devices) check() error {
	if len(e.Add)+len(e.Remove) == 0 {
		return errors.New("no device is added or removed")
	}
	if err := checkCount("devices", len(e.Add)); err != nil {
		return err
	}
	ids := make([][16]byte, len(e.Add))
	for i, d := range e.Add {
		ids[i] = d.ID
		if d.Name != "" {
			if err := checkName("the device's name", d.Name); err != nil {
				return err
			}
		}
		if len(d.Keys) == 0 {
			return errors.New("a device without a key")
		}
		if err := checkKeys(d.Keys); err != nil {
			return err
		}
	}
	if err := checkCount("devices", len(e.Remove)); err != nil {
		return err
	}
	return checkIDsOnce("device IDs", append(ids, e.Remove...))
}

func checkKeys(keys []PublicKey) error {
	if err := checkCount("keys", len(keys)); err != nil {
		return err
	}
	seen := make(map[parley.KeyKind]bool, len(keys))
	for _, k := range keys {
		if len(k.Kind) < 1 || len(k.Kind) > MaxName {
			return fmt.Errorf("a key's kind has %d bytes, not 1 to %d", len(k.Kind), MaxName)
		}
		for i := range len(k.Kind) {
			if k.Kind[i] <= ' ' || k.Kind[i] > '~' {
				return errors.New("a key's kind is not printable ASCII")
			}
		}
		if seen[k.Kind] {
			return errors.New("two keys of one kind")
		}
		seen[k.Kind] = true
		if len(k.Public) == 0 {
			return errors.New("an empty key")
		}
		if len(k.Public) > MaxKey {
			return fmt.Errorf("a key is %w: %d bytes, at most %d", ErrTooLong, len(k.Public), MaxKey)
		}
	}
	return nil
}

func (e Devices) append(b []byte) []byte {
	for _, d := range e.Add {
		p := putElement(nil, 1, d.ID[:])
		p = putString(p, 2, d.Name)
		b = putElement(b, 1, putKeys(p, 3, d.Keys))
	}
	return putIDs(b, 2, e.Remove)
}

func decodeDevices(body []byte) (Event, error) {
	var e Devices
	err := parse(body, slots{1: toList(&e.Add, asDevice), 2: toList(&e.Remove, asID)})
	return e, err
}

func asDevice(b []byte) (d Device, err error) {
	err = parse(b, slots{1: toArray(d.ID[:]), 2: toString(&d.Name), 3: toList(&d.Keys, asKey)})
	return d, err
}
