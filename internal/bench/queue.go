package bench

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"parley/carrier/smp"
)

// keyPool is how many key pairs of each kind the queues of a benchmark share:
// making one takes 40 ms, and the relay does not know whose they are.
const keyPool = 16

// A queue is one of the relay's, with commands signed beforehand: those of 2020
// carry no nonce, so the same bytes do again and again, and the client's
// signatures do not slow down the relay that shares its machine.
type queue struct {
	recipient, sender smp.ID
	size              int    // of the body
	send, ack         []byte // whole transmissions, ready to be written
	sub, del          smp.Transmission
}

// keys hands out key pairs in turn.
type keys []*rsa.PrivateKey

// newKeys makes up to n pairs.
func newKeys(n int) (keys, error) {
	k := make(keys, max(2, min(n, keyPool)))
	for i := range k {
		var err error
		if k[i], err = rsa.GenerateKey(rand.Reader, smp.MinKeyBits); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// pair returns the recipient's and the sender's key of queue i.
func (k keys) pair(i int) (recipient, sender *rsa.PrivateKey) {
	return k[i%len(k)], k[(i+1)%len(k)]
}

// create makes a queue on the connection, which is then subscribed to it, and
// secures it.
func create(l *link, recipient, sender *rsa.PrivateKey, body []byte) (*queue, error) {
	rk, err := smp.MarshalKey(&recipient.PublicKey)
	if err != nil {
		return nil, err
	}
	sk, err := smp.MarshalKey(&sender.PublicKey)
	if err != nil {
		return nil, err
	}
	ids, err := l.call(&smp.Transmission{Verb: smp.CONN, Key: rk})
	if err != nil {
		return nil, fmt.Errorf("create a queue: %w", err)
	}
	if ids.Verb != smp.IDS {
		return nil, fmt.Errorf("create a queue: the relay answers %v", ids.Verb)
	}
	q := &queue{recipient: ids.Recipient, sender: ids.Sender, size: len(body)}
	q.sub = smp.Transmission{ID: q.recipient, Verb: smp.SUB}
	q.del = smp.Transmission{ID: q.recipient, Verb: smp.DEL}
	send := smp.Transmission{ID: q.sender, Verb: smp.SEND, Body: body}
	ack := smp.Transmission{ID: q.recipient, Verb: smp.ACK}
	key := smp.Transmission{ID: q.recipient, Verb: smp.KEY, Key: sk}
	for _, t := range []*smp.Transmission{&q.sub, &q.del, &ack, &key} {
		if err := t.Sign(recipient); err != nil {
			return nil, err
		}
	}
	if err := send.Sign(sender); err != nil {
		return nil, err
	}
	if err := l.ok(&key); err != nil {
		return nil, fmt.Errorf("secure a queue: %w", err)
	}
	q.send, q.ack = send.Append(nil), ack.Append(nil)
	return q, nil
}
