package stringphone

import (
	"math"
	"time"
)

// Seal makes the packet that carries body: [Overhead] bytes more than body has,
// and [HeaderSize] more but in Plain. id travels in the nonce and should be
// random; the zero ID draws one. A resend may use the same ID: it gets another
// nonce, and receivers show it once. Where a removal demands it, a rotation is
// posted first, and the packet comes after it.
//
// The errors are [ErrMissingTopicKey], [ErrRemoved], [ErrEpoch] (we were left out
// of a rotation, and a removed member may have the key that we know), and
// [ErrNoPost] and [ErrUsedUp] where a rotation is due.
func (m *Member) Seal(now time.Time, id [16]byte, body []byte) (packet []byte, err error) {
	err = m.do(now, func(d *draft) error {
		switch {
		case d.st.has(flagRemoved):
			return ErrRemoved
		case !d.st.has(flagKey):
			return ErrMissingTopicKey
		case d.st.has(flagLacks):
			return ErrEpoch
		}
		if d.st.mode != Plain {
			if err := d.settle(); err != nil {
				return err
			}
		}
		packet, err = d.seal(kindBody, id, body)
		return err
	})
	if err != nil {
		return nil, err
	}
	return packet, nil
}

// Nonces, so that no pair of key and nonce comes twice, not even when a copy of
// the state seals the same ID again:
//
//	Plain           ID 16 ‖ random 8
//	Headed          ID 16 ‖ low byte of the epoch ‖ random 7
//	ForwardSecret   low byte of the epoch ‖ index in the chain u24 ‖ random 4 ‖ ID 16
const (
	headedEpochAt = 16
	forwardIDAt   = 8
)

// seal makes a packet of any kind under the key of the current epoch.
func (d *draft) seal(kind byte, id [16]byte, body []byte) ([]byte, error) {
	var fill [8 + 16]byte
	n := 8
	if id == ([16]byte{}) {
		n += 16
	}
	if err := d.read(fill[:n]); err != nil {
		return nil, err
	}
	if id == ([16]byte{}) {
		id = [16]byte(fill[8:])
	}
	var nonce [NonceSize]byte
	key, plain := [KeySize]byte{}, body
	if d.st.mode != Plain {
		h, err := d.nextHeader(kind)
		if err != nil {
			return nil, err
		}
		plain = append(h.appendTo(make([]byte, 0, HeaderSize+len(body))), body...)
	}
	if d.st.mode == ForwardSecret {
		k, index, err := d.ownKey()
		if err != nil {
			return nil, err
		}
		key = k
		nonce = forwardNonce(d.st.epoch, index, [4]byte(fill[:]), id)
	} else {
		k, err := d.sendingKey()
		if err != nil {
			return nil, err
		}
		key = k.key
		copy(nonce[:], id[:])
		copy(nonce[headedEpochAt:], fill[:8])
		if d.st.mode == Headed {
			nonce[headedEpochAt] = byte(d.st.epoch)
		}
	}
	packet := make([]byte, 0, Overhead+len(plain))
	return sealMessage(packet, d.self.typeByte(), d.self.private, d.self.id, &nonce, &key, plain), nil
}

func forwardNonce(epoch, index uint32, random [4]byte, id [16]byte) (n [NonceSize]byte) {
	n[0] = byte(epoch)
	n[1], n[2], n[3] = byte(index>>16), byte(index>>8), byte(index)
	copy(n[4:], random[:])
	copy(n[forwardIDAt:], id[:])
	return n
}

func forwardIndex(nonce []byte) uint32 {
	return uint32(nonce[1])<<16 | uint32(nonce[2])<<8 | uint32(nonce[3])
}

// nextHeader takes the next counter: above the last, and not below the clock, so
// that a member who has lost its state and kept its seed is heard again.
func (d *draft) nextHeader(kind byte) (*header, error) {
	if d.st.counter == math.MaxUint64 {
		return nil, ErrUsedUp
	}
	ms := min(millis(d.now), maxMillis)
	d.st.counter = max(d.st.counter+1, ms)
	return &header{kind: kind, sender: d.self.id, topic: d.self.topic, epoch: d.st.epoch, counter: d.st.counter, time: ms}, nil
}
