package content

import (
	"fmt"

	"parley"
)

// A Level says which receipts somebody sends.
type Level uint8

// Levels; each includes the ones before it.
const (
	NoReceipts Level = iota
	DeliveredReceipts
	ReadReceipts
)

// A Hello opens every line, both ways: who its sender is and where it receives.
// A later one replaces it whole.
type Hello struct {
	Name       string           // what the sender wants to be called: a wish, not a proof
	Device     [16]byte         // random, the same on all lines of the sending device
	DeviceName string           // may be empty
	Paths      []parley.Address // mailboxes of this line, best first
	Receipts   Level            // what the sender will tell about the messages it gets
	Reads      []parley.AMP     // content the sender understands; empty: not said
}

// AMP returns [parley.Hello].
func (Hello) AMP() parley.AMP { return parley.Hello }

func (e Hello) check() error {
	if err := checkName("the name", e.Name); err != nil {
		return err
	}
	if err := checkIDs("device IDs", [][16]byte{e.Device}, 1); err != nil {
		return err
	}
	if e.DeviceName != "" {
		if err := checkName("the device's name", e.DeviceName); err != nil {
			return err
		}
	}
	if err := checkAddresses(e.Paths); err != nil {
		return err
	}
	if e.Receipts > ReadReceipts {
		return fmt.Errorf("receipt level %d is not known", e.Receipts)
	}
	if err := checkCount("content types", len(e.Reads)); err != nil {
		return err
	}
	for _, a := range e.Reads {
		if a.Type == 0 || a.Version == 0 {
			return fmt.Errorf("content type %d version %d has a zero", a.Type, a.Version)
		}
	}
	return nil
}

func (e Hello) append(b []byte) []byte {
	b = putString(b, 1, e.Name)
	b = putElement(b, 2, e.Device[:])
	b = putString(b, 3, e.DeviceName)
	b = putStrings(b, 4, e.Paths)
	b = putUint(b, 5, uint64(e.Receipts))
	for _, a := range e.Reads {
		b = putElement(b, 6, putUint(putUint(nil, 1, uint64(a.Type)), 2, uint64(a.Version)))
	}
	return b
}

func decodeHello(body []byte) (Event, error) {
	var e Hello
	err := parse(body, slots{
		1: toString(&e.Name),
		2: toArray(e.Device[:]),
		3: toString(&e.DeviceName),
		4: toList(&e.Paths, asString[parley.Address]),
		5: toUint(&e.Receipts),
		6: toList(&e.Reads, asAMP),
	})
	return e, err
}

func asAMP(b []byte) (a parley.AMP, err error) {
	err = parse(b, slots{1: toUint(&a.Type), 2: toUint(&a.Version)})
	return a, err
}

// Paths adds mailboxes to a line or takes some away. What is removed must still
// be read from until the peer has confirmed it.
type Paths struct {
	Add, Remove []parley.Address
}

// AMP returns [parley.Paths].
func (Paths) AMP() parley.AMP { return parley.Paths }

func (e Paths) check() error {
	if len(e.Add)+len(e.Remove) == 0 {
		return fmt.Errorf("no path is added or removed")
	}
	if err := checkAddresses(e.Add); err != nil {
		return err
	}
	return checkAddresses(e.Remove)
}

func (e Paths) append(b []byte) []byte { return putStrings(putStrings(b, 1, e.Add), 2, e.Remove) }

func decodePaths(body []byte) (Event, error) {
	var e Paths
	err := parse(body, slots{
		1: toList(&e.Add, asString[parley.Address]),
		2: toList(&e.Remove, asString[parley.Address]),
	})
	return e, err
}
