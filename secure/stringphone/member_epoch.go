package stringphone

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// maxRivals is how many keys one epoch keeps: members who rotate at once make
// more than one. Those of the smallest hashes stay, in whatever order they came.
const maxRivals = 8

// How many epochs before the current one stay readable, for late messages.
const (
	keptHeaded  = 2
	keptForward = 1
)

// An epochKey is one key of an epoch: the one begun with, or a rotation's.
type epochKey struct {
	hash    [32]byte      // of the rotation's packet; zero: from the setup
	signer  ID            // of the rotation; zero: not known
	key     [KeySize]byte // zero in ForwardSecret: chains take its place
	members []ID          // who got it; forgotten once the epoch is over
	passed  bool          // for receiving only: others don't have it
}

// chainTag tells the chains of an epoch's rivals apart.
func (k *epochKey) chainTag() []byte { return k.hash[:8] }

func marshalKeys(keys []epochKey) []byte {
	b := []byte{byte(len(keys))}
	for i := range keys {
		k := &keys[i]
		b = append(append(append(b, k.hash[:]...), k.signer[:]...), k.key[:]...)
		if k.passed {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(k.members)))
		for _, id := range k.members {
			b = append(b, id[:]...)
		}
	}
	return b
}

// keysOf reads the keys of an epoch, the smallest hash first; none: it is over.
func (d *draft) keysOf(epoch uint32) ([]epochKey, error) {
	b := d.get(numbered(epochRow, epoch))
	if b == nil {
		return nil, nil
	}
	c := cursor{rest: b}
	var keys []epochKey
	for range c.byte() {
		k := epochKey{hash: [32]byte(c.take(32)), signer: ID(c.take(IDSize)), key: [KeySize]byte(c.take(KeySize)), passed: c.byte() == 1}
		k.members = c.ids(2 * MaxMembers)
		keys = append(keys, k)
	}
	if !c.done() || len(keys) == 0 {
		return nil, errDamaged
	}
	return keys, nil
}

// sendingKey is the one of the current epoch that messages go out under: of the
// smallest hash, but for those whose signer was removed and those passed.
func (d *draft) sendingKey() (*epochKey, error) {
	keys, err := d.keysOf(d.st.epoch)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errDamaged
	}
	for i := range keys {
		if !keys[i].passed && !d.isGone(keys[i].signer) {
			return &keys[i], nil
		}
	}
	return &keys[0], nil
}

// enterEpoch makes k the key of a new epoch and lets the oldest go.
func (d *draft) enterEpoch(epoch uint32, k epochKey) error {
	if before, err := d.keysOf(d.st.epoch); err != nil {
		return err
	} else if before != nil && epoch != d.st.epoch {
		for i := range before {
			before[i].members = nil
		}
		d.put(numbered(epochRow, d.st.epoch), marshalKeys(before))
	}
	d.st.epoch = epoch
	d.st.set(flagLacks, false)
	kept := uint32(keptHeaded)
	if d.st.mode == ForwardSecret {
		kept = keptForward
	}
	for _, name := range d.scan(epochRow, 0) {
		if n := binary.BigEndian.Uint32([]byte(name[1:])); epoch > kept && n < epoch-kept || n > epoch {
			d.delete(name)
			d.deleteAll(numbered(chainRow, n))
			d.deleteAll(numbered(skipRow, n))
		}
	}
	if err := d.addKey(epoch, k); err != nil {
		return err
	}
	return d.markDirty()
}

// addKey adds a key to an epoch whose keys are still kept.
func (d *draft) addKey(epoch uint32, k epochKey) error {
	keys, err := d.keysOf(epoch)
	if err != nil {
		return err
	}
	at, known := slices.BinarySearchFunc(keys, k, func(a, b epochKey) int { return bytes.Compare(a.hash[:], b.hash[:]) })
	if known && keys[at].passed {
		keys[at].passed = k.passed
		d.put(numbered(epochRow, epoch), marshalKeys(keys))
	}
	if known || at >= maxRivals {
		return nil
	}
	if d.st.mode == ForwardSecret {
		if err := d.beginChains(epoch, &k); err != nil {
			return err
		}
		k.key = [KeySize]byte{}
	}
	keys = slices.Insert(keys, at, k)
	if len(keys) > maxRivals {
		last := &keys[maxRivals]
		d.deleteAll(numbered(chainRow, epoch) + string(last.chainTag()))
		d.deleteAll(numbered(skipRow, epoch) + string(last.chainTag()))
		keys = keys[:maxRivals]
	}
	d.put(numbered(epochRow, epoch), marshalKeys(keys))
	return nil
}

// markDirty notes whether somebody who was removed has the key to send with.
func (d *draft) markDirty() error {
	k, err := d.sendingKey()
	if err != nil {
		return err
	}
	d.st.set(flagDirty, len(d.leaks(k)) > 0)
	return nil
}

// leaks are those who have k and were removed.
func (d *draft) leaks(k *epochKey) []ID {
	var ids []ID
	for _, id := range k.members {
		if d.isGone(id) {
			ids = append(ids, id)
		}
	}
	return ids
}
