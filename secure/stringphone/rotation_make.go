package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
)

// packetHash names a rotation: SHA-256 of all that its signature covers.
func packetHash(packet []byte) [32]byte { return sha256.Sum256(packet[1+signatureSize:]) }

// mayChange reports whether we can tell the others about a change.
func (d *draft) mayChange() error {
	switch {
	case d.st.mode == Plain:
		return ErrMode
	case d.st.has(flagRemoved):
		return ErrRemoved
	case !d.st.has(flagKey):
		return ErrMissingTopicKey
	case d.st.has(flagLacks):
		return ErrEpoch
	case !d.canPost():
		return ErrNoPost
	}
	return nil
}

// rotate ends the epoch: it posts the new key to all who stay, and returns it.
// Who leaks the old key is removed once more.
func (d *draft) rotate(removed []ID, added []joiner) (key [KeySize]byte, err error) {
	if err := d.mayChange(); err != nil {
		return key, err
	}
	if d.st.epoch == math.MaxUint32 {
		return key, ErrUsedUp
	}
	now, err := d.sendingKey()
	if err != nil {
		return key, err
	}
	next := d.st.epoch + 1
	for _, id := range d.leaks(now) {
		if !slices.Contains(removed, id) {
			removed = append(removed, id)
		}
	}
	// The packet is sealed first: its chain and key are those of the old epoch.
	r := &rotation{epoch: next, mode: d.st.mode, removed: removed, added: added}
	if r.sealing, err = d.ownSealing(); err != nil {
		return key, err
	}
	if key, err = d.newKey(); err != nil {
		return key, err
	}
	if r.sealed, err = d.sealToAll(next, &key, r); err != nil {
		return key, err
	}
	packet, err := d.seal(kindRotation, [16]byte{}, r.marshal())
	if err != nil {
		return key, err
	}
	for _, id := range removed {
		if err := d.expel(id, next, d.self.id); err != nil {
			return key, err
		}
	}
	d.send(packet)
	ids, err := d.memberIDs()
	if err != nil {
		return key, err
	}
	err = d.enterEpoch(next, epochKey{hash: packetHash(packet), signer: d.self.id, key: key, members: ids})
	d.st.set(flagAnnounce, false) // the rotation has told it
	return key, err
}

// sealToAll seals a key to every participant that is not being removed. A joiner
// is reached by the key of its introduction.
func (d *draft) sealToAll(epoch uint32, key *[KeySize]byte, r *rotation) ([]sealedKey, error) {
	all, err := d.insiders()
	if err != nil {
		return nil, err
	}
	info := rotationInfo(d.self.topic, epoch, d.self.id)
	var sealed []sealedKey
	for _, p := range all {
		if slices.Contains(r.removed, p.id) {
			continue
		}
		publics := [][]byte{p.sealing[:]}
		for i := range r.added {
			if j := &r.added[i]; bytes.Equal(j.key, p.key) && j.sealing != p.sealing && !allZero(j.sealing[:]) {
				// Who is a member already has lost its keys, or somebody plays an old
				// introduction again and it has them all: it is sealed to both.
				publics = slices.DeleteFunc([][]byte{j.sealing[:], p.sealing[:]}, allZero)
			}
		}
		for _, public := range publics {
			s := sealedKey{key: p.key}
			if allZero(public) && d.st.mode == Headed {
				public, _ = montgomery(p.key)
			}
			if len(public) > 0 && !allZero(public) {
				// A key of low order is as good as none: its owner has to ask again.
				if s.enc, s.box, err = sealEpochKey(public, info, p.id, key); err != nil {
					s.enc, s.box = [32]byte{}, [KeySize + macSize]byte{}
				}
			}
			sealed = append(sealed, s)
		}
	}
	return sealed, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// announce posts our sealing key, and whom we count as members.
func (d *draft) announce() error {
	sealing, err := d.ownSealing()
	if err != nil {
		return err
	}
	a := announcement{sealing: sealing}
	if d.st.mode == Headed { // a rotation tells it in ForwardSecret
		all, err := d.insiders()
		if err != nil {
			return err
		}
		for _, p := range all {
			a.members = append(a.members, p.key)
		}
	}
	packet, err := d.seal(kindAnnounce, [16]byte{}, a.marshal())
	if err != nil {
		return err
	}
	d.send(packet)
	d.st.set(flagAnnounce, false)
	return nil
}

// settle does what is due before we seal: a rotation where somebody who was
// removed has the key, or a chain has ended, and the news of our sealing key.
func (d *draft) settle() error {
	due := d.st.has(flagDirty)
	if d.st.mode == ForwardSecret && !due {
		k, err := d.sendingKey()
		if err != nil {
			return err
		}
		c, err := d.chain(place(chainRow, d.st.epoch, k, d.self.id))
		if err != nil || c == nil {
			return errDamaged
		}
		// Room for an announcement, the message and the rotation that ends it.
		due = c.next > lastIndex-3
	}
	if due {
		if _, err := d.rotate(nil, nil); err != nil {
			return fmt.Errorf("the topic key has to be changed first: %w", err)
		}
	}
	if d.st.has(flagAnnounce) && d.canPost() {
		return d.announce()
	}
	return nil
}

// keysOf are the sealed keys of a member in a rotation: two at most, however often it
// is named, since opening each takes time.
func (r *rotation) keysOf(key ed25519.PublicKey) (all []*sealedKey) {
	for i := range r.sealed {
		if bytes.Equal(r.sealed[i].key, key) && len(all) < 2 {
			all = append(all, &r.sealed[i])
		}
	}
	return all
}
