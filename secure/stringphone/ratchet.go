package stringphone

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// In ForwardSecret the key of an epoch makes one chain for each member and is
// erased at once:
//
//	CK[0]   = HKDF-SHA256(epoch key, salt topic hash, info tag ‖ epoch ‖ member ID)
//	mk[i]   = HMAC-SHA256(CK[i], 0x01)
//	CK[i+1] = HMAC-SHA256(CK[i], 0x02)
//
// A chain key is erased by its step, a message key by its use.
const chainTagText = "parley/stringphone chain v1\x00"

// lastIndex is the last message of a chain: the nonce has 3 bytes for it. The
// next message rotates first.
const lastIndex = 1<<24 - 1

// A chain is the memory of one member's messages under one key.
type chain struct {
	key     [32]byte // of message next
	next    uint32
	skipped uint32 // keys kept of messages before next
}

const chainSize = 32 + 4 + 4

func (c *chain) marshal() []byte {
	b := append(make([]byte, 0, chainSize), c.key[:]...)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, c.next), c.skipped)
}

func chainStep(key [32]byte) (message, next [32]byte) {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte{1})
	h.Sum(message[:0])
	h.Reset()
	h.Write([]byte{2})
	h.Sum(next[:0])
	return message, next
}

// firstKeys makes CK[0] of each member.
func firstKeys(key [KeySize]byte, topic [16]byte, epoch uint32, members []ID) ([][32]byte, error) {
	prk, err := hkdf.Extract(sha256.New, key[:], topic[:])
	if err != nil {
		return nil, err
	}
	info := binary.BigEndian.AppendUint32([]byte(chainTagText), epoch)
	first := make([][32]byte, len(members))
	for i, id := range members {
		k, err := hkdf.Expand(sha256.New, prk, string(append(info, id[:]...)), 32)
		if err != nil {
			return nil, err
		}
		first[i] = [32]byte(k)
	}
	return first, nil
}

// place is where the rows of a sender's chain are: epoch, tag, ID.
func place(letter string, epoch uint32, k *epochKey, id ID) string {
	return numbered(letter, epoch) + string(k.chainTag()) + string(id[:])
}

func indexed(place string, index uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte(place), index))
}

// beginChains begins a chain for each member that has k.
func (d *draft) beginChains(epoch uint32, k *epochKey) error {
	first, err := firstKeys(k.key, d.self.topic, epoch, k.members)
	if err != nil {
		return err
	}
	for i, id := range k.members {
		if !d.isGone(id) {
			d.put(place(chainRow, epoch, k, id), (&chain{key: first[i]}).marshal())
		}
	}
	return nil
}

func (d *draft) chain(at string) (*chain, error) {
	b := d.get(at)
	if b == nil {
		return nil, nil
	}
	if len(b) != chainSize {
		return nil, errDamaged
	}
	return &chain{[32]byte(b), binary.BigEndian.Uint32(b[32:]), binary.BigEndian.Uint32(b[36:])}, nil
}

// A messageKey is the key of one message, and what its use changes.
type messageKey struct {
	key  [32]byte
	used func() error
}

// messageKey finds the key of a sender's message without writing anything. The
// errors are [ErrEpoch] (no such chain), [ErrReplay] and [ErrSkip].
func (d *draft) messageKey(epoch uint32, k *epochKey, sender ID, index uint32) (*messageKey, error) {
	at, skips := place(chainRow, epoch, k, sender), place(skipRow, epoch, k, sender)
	c, err := d.chain(at)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, ErrEpoch
	}
	if index < c.next {
		kept := d.get(indexed(skips, index))
		if len(kept) != 32 {
			return nil, fmt.Errorf("%w, or so late that its key was erased", ErrReplay)
		}
		return &messageKey{[32]byte(kept), func() error {
			d.delete(indexed(skips, index))
			c.skipped--
			d.put(at, c.marshal())
			return nil
		}}, nil
	}
	if index-c.next > MaxJump {
		return nil, ErrSkip
	}
	first, passed := c.next, make([][32]byte, 0, index-c.next+1)
	for ; c.next <= index; c.next++ {
		var mk [32]byte
		mk, c.key = chainStep(c.key)
		passed = append(passed, mk)
	}
	return &messageKey{passed[len(passed)-1], func() error {
		passed = passed[:len(passed)-1]
		for i := max(0, len(passed)-MaxSkip); i < len(passed); i++ {
			d.put(indexed(skips, first+uint32(i)), passed[i][:])
			c.skipped++
		}
		d.put(at, c.marshal())
		return d.boundSkipped(sender)
	}}, nil
}

// ownKey takes the next key of our own sending chain. The error is [ErrUsedUp] at
// the chain's end.
func (d *draft) ownKey() (key [32]byte, index uint32, err error) {
	k, err := d.sendingKey()
	if err != nil {
		return key, 0, err
	}
	at := place(chainRow, d.st.epoch, k, d.self.id)
	c, err := d.chain(at)
	if err != nil {
		return key, 0, err
	}
	if c == nil {
		return key, 0, errDamaged
	}
	if c.next > lastIndex {
		return key, 0, ErrUsedUp
	}
	key, c.key = chainStep(c.key)
	c.next++
	d.put(at, c.marshal())
	return key, c.next - 1, nil
}

// places calls f for each live chain of a sender, the oldest epoch first.
func (d *draft) places(sender ID, f func(chainAt, skipsAt string) error) error {
	for _, name := range d.scan(epochRow, 0) {
		epoch := binary.BigEndian.Uint32([]byte(name[1:]))
		keys, err := d.keysOf(epoch)
		if err != nil {
			return err
		}
		for i := range keys {
			if err := f(place(chainRow, epoch, &keys[i], sender), place(skipRow, epoch, &keys[i], sender)); err != nil {
				return err
			}
		}
	}
	return nil
}

// boundSkipped drops the oldest of a sender's kept keys where there are too many.
func (d *draft) boundSkipped(sender ID) error {
	total := 0
	err := d.places(sender, func(at, _ string) error {
		c, err := d.chain(at)
		if c != nil {
			total += int(c.skipped)
		}
		return err
	})
	if err != nil || total <= MaxSkipped {
		return err
	}
	return d.places(sender, func(at, skips string) error {
		c, err := d.chain(at)
		if err != nil || c == nil || total <= MaxSkipped {
			return err
		}
		for _, k := range d.scan(skips, total-MaxSkipped) {
			d.delete(k)
			c.skipped--
			total--
		}
		d.put(at, c.marshal())
		return nil
	})
}

// dropChains erases all keys of a sender.
func (d *draft) dropChains(sender ID) error {
	if d.st.mode != ForwardSecret {
		return nil
	}
	return d.places(sender, func(at, skips string) error {
		d.delete(at)
		d.deleteAll(skips)
		return nil
	})
}

// forgetSkipped erases the kept keys of a sender.
func (d *draft) forgetSkipped(sender ID) error {
	return d.places(sender, func(at, skips string) error {
		c, err := d.chain(at)
		if err != nil || c == nil || c.skipped == 0 {
			return err
		}
		d.deleteAll(skips)
		c.skipped = 0
		d.put(at, c.marshal())
		return nil
	})
}
