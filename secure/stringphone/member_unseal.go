package stringphone

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
)

// An unsealed message, not verified further.
type unsealed struct {
	plain []byte // never nil
	epoch uint32 // whose key opened it
	index uint32
	used  func() error // takes the key away; nil: the key stays
}

func openBox(packet []byte, key *[KeySize]byte) ([]byte, bool) {
	nonce := [NonceSize]byte(packet[boxAt:])
	box := packet[boxAt+NonceSize:]
	return secretbox.Open(make([]byte, 0, max(len(box)-macSize, 1)), box, &nonce, key)
}

// unseal finds the key of a message, by the low byte of the epoch in its nonce.
func (d *draft) unseal(sender ID, packet []byte) (*unsealed, error) {
	if d.st.mode == Plain {
		k, err := d.sendingKey()
		if err != nil {
			return nil, err
		}
		if plain, ok := openBox(packet, &k.key); ok {
			return &unsealed{plain: plain}, nil
		}
		return nil, ErrWrongTopicKey
	}
	ahead := int8(d.epochByte(packet) - byte(d.st.epoch))
	epoch := int64(d.st.epoch) + int64(ahead)
	if ahead > 0 {
		return nil, &lackError{error: ErrEpoch, sender: sender, until: uint64(epoch), id: messageID(d.st.mode, packet)}
	}
	var keys []epochKey
	if epoch >= 0 {
		var err error
		if keys, err = d.keysOf(uint32(epoch)); err != nil {
			return nil, err
		}
	}
	err, u := ErrErased, (*unsealed)(nil)
	if len(keys) > 0 {
		u, err = d.tryKeys(sender, packet, uint32(epoch), keys)
	}
	if !errors.Is(err, ErrEpoch) && !errors.Is(err, ErrSkip) {
		return u, err
	}
	id := messageID(d.st.mode, packet)
	if d.seen(d.tag(guardID, sender[:], id[:])) {
		return nil, ErrReplay
	}
	// Behind us, it is late, or on a way of its own.
	return nil, &lackError{
		error: err, sender: sender, until: uint64(d.st.epoch) + 1,
		behind: ahead < 0 && !errors.Is(err, ErrSkip), id: id,
	}
}

// A lackError says that introducing ourselves again would help, and until which
// epoch.
type lackError struct {
	error
	sender ID
	until  uint64
	behind bool // of an older one: one such message says little
	id     [16]byte
}

func (e *lackError) Unwrap() error { return e.error }

// epochByte is the low byte of the epoch in a nonce: before the index in
// ForwardSecret, behind the ID in Headed.
func (d *draft) epochByte(packet []byte) byte {
	if d.st.mode == ForwardSecret {
		return packet[boxAt]
	}
	return packet[boxAt+headedEpochAt]
}

// tryKeys tries the keys of an epoch, of which there is more than one when
// members have rotated at once.
func (d *draft) tryKeys(sender ID, packet []byte, epoch uint32, keys []epochKey) (*unsealed, error) {
	var why error
	for i := range keys {
		u, err := d.tryKey(sender, packet, epoch, &keys[i])
		if err == nil || errors.Is(err, errDamaged) {
			return u, err
		}
		if why == nil || errors.Is(why, ErrEpoch) {
			why = err
		}
	}
	return nil, why
}

func (d *draft) tryKey(sender ID, packet []byte, epoch uint32, k *epochKey) (*unsealed, error) {
	u, key := &unsealed{epoch: epoch}, &k.key
	if d.st.mode == ForwardSecret {
		u.index = forwardIndex(packet[boxAt:])
		mk, err := d.messageKey(epoch, k, sender, u.index)
		if err != nil {
			return nil, err
		}
		key, u.used = &mk.key, mk.used
	}
	plain, ok := openBox(packet, key)
	if !ok {
		return nil, fmt.Errorf("%w (%w)", ErrEpoch, ErrWrongTopicKey)
	}
	u.plain = plain
	return u, nil
}
