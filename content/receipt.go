package content

import (
	"errors"
	"fmt"

	"parley"
)

// A ReceiptKind says what has happened to messages.
type ReceiptKind uint8

// Kinds of receipts.
const (
	Delivered ReceiptKind = iota + 1 // on the device's disk
	Read                             // shown
)

// A Receipt tells the sender about messages that arrived.
type Receipt struct {
	Kind  ReceiptKind
	Items []ReceiptItem // 1 to MaxList, of different messages
}

// A ReceiptItem names a message by its ID and what it said, so that neither a
// forged ID nor a changed body is ever confirmed.
type ReceiptItem struct {
	ID     [16]byte
	SHA256 [32]byte // of the message's body, as Encode made it
}

// AMP returns [parley.Receipt].
func (Receipt) AMP() parley.AMP { return parley.Receipt }

func (e Receipt) check() error {
	if e.Kind != Delivered && e.Kind != Read {
		return fmt.Errorf("receipt kind %d is not known", e.Kind)
	}
	ids := make([][16]byte, len(e.Items))
	for i, it := range e.Items {
		ids[i] = it.ID
		if it.SHA256 == ([32]byte{}) {
			return errors.New("a receipt has no digest")
		}
	}
	return checkIDs("message IDs", ids, 1)
}

func (e Receipt) append(b []byte) []byte {
	b = putUint(b, 1, uint64(e.Kind))
	for _, it := range e.Items {
		b = putElement(b, 2, putElement(putElement(nil, 1, it.ID[:]), 2, it.SHA256[:]))
	}
	return b
}

func decodeReceipt(body []byte) (Event, error) {
	var e Receipt
	err := parse(body, slots{1: toUint(&e.Kind), 2: toList(&e.Items, asReceiptItem)})
	return e, err
}

func asReceiptItem(b []byte) (it ReceiptItem, err error) {
	err = parse(b, slots{1: toArray(it.ID[:]), 2: toArray(it.SHA256[:])})
	return it, err
}
