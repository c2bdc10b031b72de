package broker

import (
	"encoding/binary"
	"errors"

	"parley/broker/store"
)

// MaxKey is the longest key in bytes that a queue keeps.
const MaxKey = 2048

// A Queue is what the broker knows of a queue. Keys are opaque to it: a front
// writes them in a form of its own and verifies with them.
type Queue struct {
	ID           store.ID // the recipient's
	Sender       store.ID
	RecipientKey []byte
	SenderKey    []byte // nil until the queue is secured
	Suspended    bool
	MaxBody      int // the longest message it takes, in bytes

	record store.Queue
}

// A queue's Props: version 1, flags, MaxBody in four bytes, recipient key and
// sender key, each after its length in two bytes. With two RSA-2048 moduli that
// is 522 bytes.
const (
	propsVersion   = 1
	flagSuspended  = 1
	propsHeaderLen = 6
)

var errRecord = errors.New("the queue's record is damaged")

func (q *Queue) props() []byte {
	p := make([]byte, propsHeaderLen, propsHeaderLen+4+len(q.RecipientKey)+len(q.SenderKey))
	p[0] = propsVersion
	if q.Suspended {
		p[1] |= flagSuspended
	}
	binary.BigEndian.PutUint32(p[2:], uint32(q.MaxBody))
	for _, k := range [][]byte{q.RecipientKey, q.SenderKey} {
		p = binary.BigEndian.AppendUint16(p, uint16(len(k)))
		p = append(p, k...)
	}
	return p
}

func parseQueue(r store.Queue) (Queue, error) {
	p := r.Props
	if len(p) < propsHeaderLen || p[0] != propsVersion || p[1]&^flagSuspended != 0 {
		return Queue{}, errRecord
	}
	q := Queue{ID: r.ID, Sender: r.Alias[store.Sender], Suspended: p[1]&flagSuspended != 0,
		MaxBody: int(binary.BigEndian.Uint32(p[2:])), record: r}
	rest := p[propsHeaderLen:]
	for _, k := range []*[]byte{&q.RecipientKey, &q.SenderKey} {
		if len(rest) < 2 {
			return Queue{}, errRecord
		}
		n := int(binary.BigEndian.Uint16(rest))
		if rest = rest[2:]; len(rest) < n {
			return Queue{}, errRecord
		}
		if n > 0 {
			*k = rest[:n:n]
		}
		rest = rest[n:]
	}
	if len(rest) != 0 || q.RecipientKey == nil {
		return Queue{}, errRecord
	}
	return q, nil
}
