package stringphone

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"slices"
)

// participant reads who has that ID, nil if nobody.
func (d *draft) participant(id ID) (*participant, error) {
	b := d.get(row(memberRow, id))
	if b == nil {
		return nil, nil
	}
	p, err := parseParticipant(b)
	if err == nil && p.id != id {
		err = errDamaged
	}
	return p, err
}

func (d *draft) save(p *participant) { d.put(row(memberRow, p.id), p.marshal()) }

// participants reads all, in the order of IDs.
func (d *draft) participants() ([]*participant, error) {
	var all []*participant
	for _, k := range d.scan(memberRow, 0) {
		p, err := parseParticipant(d.get(k))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// insiders are all who get the next key, without us.
func (d *draft) insiders() ([]*participant, error) {
	all, err := d.participants()
	return slices.DeleteFunc(all, (*participant).outside), err
}

// memberIDs are we and all insiders.
func (d *draft) memberIDs() ([]ID, error) {
	all, err := d.insiders()
	ids := []ID{d.self.id}
	for _, p := range all {
		ids = append(ids, p.id)
	}
	return ids, err
}

// admit adds a member to our epoch, or finds it: nil for ourselves. Our own word
// beats what others said.
func (d *draft) admit(key ed25519.PublicKey, by ID, flags uint8) (*participant, error) {
	return d.admitTo(d.st.epoch, key, by, flags)
}

func (d *draft) admitTo(epoch uint32, key ed25519.PublicKey, by ID, flags uint8) (*participant, error) {
	if weakKey(key) {
		return nil, badFormat("a public key that nobody honest has")
	}
	id := IDOf(key)
	if id == d.self.id {
		return nil, nil
	}
	p, err := d.participant(id)
	if err != nil {
		return nil, err
	}
	before := []byte(nil)
	if p == nil {
		if int(d.st.members)+1 >= MaxMembers {
			return nil, ErrCrowded
		}
		d.st.members++
		p = &participant{id: id, key: bytes.Clone(key), by: by, since: millis(d.now), flags: flags}
	} else {
		before = p.marshal()
	}
	if by == d.self.id {
		p.by, p.flags = by, flags
	}
	p.flags &^= memberOutside
	p.joined = max(p.joined, epoch)
	if !bytes.Equal(before, p.marshal()) {
		d.save(p)
	}
	return p, nil
}

// vouched is how we trust whom another member admits.
func (d *draft) vouched() uint8 {
	if d.self.setup.NoVouch {
		return 0
	}
	return memberTrusted
}

// drop forgets a participant of which nobody says anything any more.
func (d *draft) drop(id ID) error {
	if d.get(row(memberRow, id)) == nil {
		return nil
	}
	d.delete(row(memberRow, id))
	d.delete(row(countRow, id))
	d.delete(row(backRow, id))
	d.st.members--
	return d.dropChains(id)
}

// A tombstone says that a member was removed, by whom, and with which epoch:
// nobody's older word brings it back. There may be more than one for a member.
type tombstone struct {
	epoch uint32
	by    ID
}

const (
	tombstoneSize = 4 + IDSize
	maxTombstones = 8 // for one member; the highest epochs stay
)

// tombstones of a member, the highest epoch last; none: it was not removed.
func (d *draft) tombstones(id ID) []tombstone {
	var all []tombstone
	for b := d.get(row(goneRow, id)); len(b) >= tombstoneSize; b = b[tombstoneSize:] {
		all = append(all, tombstone{binary.BigEndian.Uint32(b), ID(b[4:])})
	}
	return all
}

func (d *draft) setTombstones(id ID, all []tombstone) {
	var b []byte
	for _, t := range all[max(0, len(all)-maxTombstones):] {
		b = append(binary.BigEndian.AppendUint32(b, t.epoch), t.by[:]...)
	}
	switch known := d.isGone(id); {
	case b == nil:
		d.raise(id)
		return
	case !known:
		d.st.gone++
	}
	d.put(row(goneRow, id), b)
}

func (d *draft) isGone(id ID) bool { return d.get(row(goneRow, id)) != nil }

// goneSince is the highest epoch that a member was removed with.
func (d *draft) goneSince(id ID) (epoch uint32, gone bool) {
	all := d.tombstones(id)
	if len(all) == 0 {
		return 0, false
	}
	return all[len(all)-1].epoch, true
}

// expel removes a member with the rotation to epoch. It is never heard again.
func (d *draft) expel(id ID, epoch uint32, by ID) error {
	d.closeCounters(id)
	floor := d.get(row(countRow, id))
	if err := d.drop(id); err != nil {
		return err
	}
	if floor != nil {
		d.put(row(countRow, id), floor)
	}
	t, all := tombstone{epoch, by}, d.tombstones(id)
	if !slices.Contains(all, t) {
		all = append(all, t)
		slices.SortStableFunc(all, func(a, b tombstone) int { return cmp.Compare(a.epoch, b.epoch) })
	}
	d.setTombstones(id, all)
	if d.st.gone > MaxMembers {
		d.buryOldest()
	}
	return nil
}

// buryOldest forgets the tombstone of the lowest epoch.
func (d *draft) buryOldest() {
	ids := d.goneIDs()
	oldest := ids[0]
	for _, id := range ids {
		a, _ := d.goneSince(id)
		if b, _ := d.goneSince(oldest); a < b {
			oldest = id
		}
	}
	d.raise(oldest)
	d.delete(row(countRow, oldest))
}

// raise takes a tombstone away.
func (d *draft) raise(id ID) {
	if d.isGone(id) {
		d.delete(row(goneRow, id))
		d.st.gone--
	}
}

// noteBack remembers with which epochs at most a member had been removed before it was
// let in: those before the rotation that let it in. It is for whoever comes in and
// knows of a removal only. Nothing is kept of those who are no members.
func (d *draft) noteBack(id ID, epoch uint32) {
	if epoch == 0 || id != d.self.id && d.get(row(memberRow, id)) == nil {
		return
	}
	if before, there := d.backSince(id); !there || epoch > before {
		d.put(row(backRow, id), binary.BigEndian.AppendUint32(nil, epoch))
	}
}

// backSince is the epoch that noteBack has noted for a member.
func (d *draft) backSince(id ID) (epoch uint32, back bool) {
	b := d.get(row(backRow, id))
	if len(b) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}

// goneIDs are all who were removed.
func (d *draft) goneIDs() []ID {
	var ids []ID
	for _, k := range d.scan(goneRow, 0) {
		ids = append(ids, ID([]byte(k[len(goneRow):])))
	}
	return ids
}

// The private sealing keys, newest first.

const keptSealing = 3

func (d *draft) sealingKeys() [][KeySize]byte {
	var keys [][KeySize]byte
	for p := d.get(sealingRow); len(p) >= KeySize; p = p[KeySize:] {
		keys = append(keys, [KeySize]byte(p))
	}
	return keys
}

// newSealing makes a sealing key; those before the last two are erased.
func (d *draft) newSealing() error {
	k, err := d.newKey()
	if err != nil {
		return err
	}
	old := d.get(sealingRow)
	d.put(sealingRow, slices.Concat(k[:], old[:min(len(old), (keptSealing-1)*KeySize)]))
	d.st.set(flagAnnounce, true)
	return nil
}

// ownSealing is the public half of our newest sealing key; it is made if there is
// none. Zero but in ForwardSecret.
func (d *draft) ownSealing() (public [32]byte, err error) {
	if d.st.mode != ForwardSecret {
		return public, nil
	}
	keys := d.sealingKeys()
	if len(keys) == 0 {
		if err := d.newSealing(); err != nil {
			return public, err
		}
		keys = d.sealingKeys()
	}
	return publicSealing(keys[0])
}

// learnSealing takes what a member says about its own sealing key, if it is news.
func (d *draft) learnSealing(p *participant, public [32]byte, at stage) {
	if public != ([32]byte{}) && p.stage.before(at) {
		p.sealing, p.stage = public, at
		d.save(p)
	}
}
