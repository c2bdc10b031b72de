package stringphone

import (
	"bytes"
	"errors"
	"slices"
	"time"
)

// behind is how old a rotation is, if it was not made just now.
const behind = time.Minute

// takeRotation takes in a verified rotation of a trusted member, sealed under a
// key of the epoch before the new one. docs/stringphone-modes.md has the rule.
func (d *draft) takeRotation(from *participant, h *header, hash [32]byte, body []byte) error {
	r, err := parseRotation(body)
	if err != nil {
		return err
	}
	if r.epoch == 0 || r.epoch-1 != h.epoch || r.mode != d.st.mode {
		return badFormat("a rotation to epoch %d in %v, from epoch %d in %v", r.epoch, r.mode, h.epoch, d.st.mode)
	}
	for i := range r.added {
		if j := &r.added[i]; !allZero(j.sealing[:]) && !verifyStrict(j.key, j.sealing[:], j.sig[:]) {
			return badFormat("a rotation that lets somebody in whose own signature is wrong")
		}
	}
	keys, err := d.keysOf(r.epoch)
	if err != nil {
		return err
	}
	for i := range keys {
		if keys[i].hash == hash {
			return nil // came with a reply before
		}
	}
	d.catchingUp = d.now.Sub(timeOf(h.time)) > behind
	k := epochKey{hash: hash, signer: from.id}
	has := d.openRotation(from.id, r, &k.key)
	k.members = []ID{from.id}
	for i := range r.sealed {
		if id := IDOf(r.sealed[i].key); !slices.Contains(k.members, id) {
			k.members = append(k.members, id)
		}
	}
	switch {
	case r.epoch < d.st.epoch:
		return d.takeStale(from, r, k, has && keys != nil)
	case r.epoch == d.st.epoch:
		return d.takeRival(from, h, r, k, has)
	}
	return d.takeNext(from, h, r, k, has)
}

// openRotation opens our own part.
func (d *draft) openRotation(signer ID, r *rotation, key *[KeySize]byte) bool {
	info := rotationInfo(d.self.topic, r.epoch, signer)
	for _, s := range r.keysOf(d.self.public()) {
		if allZero(s.enc[:]) {
			continue
		}
		for i, private := range d.sealingKeys() {
			if k, ok := openEpochKey(private[:], info, d.self.id, s); ok {
				*key = k
				// The others do not know our newest key yet. While they don't, they go on
				// sealing to this one, and it must not be erased.
				d.newestUnused = i > 0
				return true
			}
		}
		if d.st.mode == Headed {
			if k, ok := openEpochKey(montgomeryPrivate(d.self.private), info, d.self.id, s); ok {
				*key = k
				return true
			}
		}
	}
	return false
}

// takeStale is a rotation that the others have passed. Messages may come under its
// key. Whom it removed is gone, unless the current epoch names it: then whoever
// removed it will do so again.
func (d *draft) takeStale(from *participant, r *rotation, k epochKey, has bool) error {
	now, err := d.keysOf(d.st.epoch)
	if err != nil {
		return err
	}
	for _, id := range r.removed {
		named := slices.ContainsFunc(now, func(k epochKey) bool { return slices.Contains(k.members, id) })
		if !named && id != d.self.id && d.get(row(memberRow, id)) != nil {
			if err := d.expel(id, r.epoch, from.id); err != nil {
				return err
			}
		}
	}
	if !has {
		return nil
	}
	k.members = nil
	return d.addKey(r.epoch, k)
}

// takeNext is a rotation out of our epoch.
func (d *draft) takeNext(from *participant, h *header, r *rotation, k epochKey, has bool) error {
	if slices.Contains(r.removed, d.self.id) {
		d.st.set(flagRemoved, true)
		return nil
	}
	if err := d.takePeople(from, h, r); err != nil {
		return err
	}
	if !has { // the signer does not know us, or our sealing key
		d.st.set(flagLacks, true)
		return d.markDirty()
	}
	if err := d.dropUnnamed(k.members, r.epoch); err != nil {
		return err
	}
	if err := d.enterEpoch(r.epoch, k); err != nil {
		return err
	}
	return d.afterRotation()
}

// takeRival is a rotation to our epoch: its signer had not seen the one that we
// took. Removals and additions of both count, and the smaller hash gives the key
// to send with.
func (d *draft) takeRival(from *participant, h *header, r *rotation, k epochKey, has bool) error {
	if slices.Contains(r.removed, d.self.id) {
		d.st.set(flagRemoved, true)
		return nil
	}
	for _, id := range r.removed {
		if err := d.void(id); err != nil {
			return err
		}
	}
	if err := d.takePeople(from, h, r); err != nil {
		return err
	}
	if has {
		if err := d.addKey(r.epoch, k); err != nil {
			return err
		}
	} else if s, err := d.sendingKey(); err != nil {
		return err
	} else if slices.Compare(k.hash[:], s.hash[:]) < 0 {
		d.st.set(flagLacks, true) // the others write under its key
	}
	s, err := d.sendingKey()
	if err != nil {
		return err
	}
	if err := d.dropUnnamed(s.members, r.epoch); err != nil {
		return err
	}
	if err := d.markDirty(); err != nil {
		return err
	}
	return d.afterRotation()
}

// takePeople applies a rotation's removals and additions. Removed in this very
// epoch weighs more than added.
func (d *draft) takePeople(from *participant, h *header, r *rotation) error {
	for _, id := range r.removed {
		if id == from.id {
			continue // nobody removes itself: the others could not follow
		}
		if err := d.expel(id, r.epoch, from.id); err != nil {
			return err
		}
	}
	for i := range r.added {
		id := IDOf(r.added[i].key)
		if since, gone := d.goneSince(id); gone && since < r.epoch {
			d.raise(id)
		}
	}
	for i := range r.sealed {
		if err := d.vouch(h.epoch, r.sealed[i].key, from.id); err != nil {
			return err
		}
	}
	for i := range r.added {
		if IDOf(r.added[i].key) == d.self.id {
			// We are in already: it was made when a key seemed to be missing, or comes from
			// a recording. What we write ends its being answered.
			if in := d.introduction(); in != nil && bytes.Equal(in.packet, r.added[i].intro()) {
				d.answered(in)
			}
			d.st.set(flagAnnounce, true)
			continue
		}
		p, err := d.participant(IDOf(r.added[i].key))
		if err != nil {
			return err
		}
		if p != nil {
			d.noteBack(p.id, r.epoch-1)
		}
		if p != nil && allZero(p.sealing[:]) {
			d.learnSealing(p, r.added[i].sealing, stage{r.epoch, 0})
		}
		if t := d.tag(guardAnswer, r.added[i].intro()); !d.seen(t) {
			d.remember(t)
			if p != nil {
				p.flags &^= memberHeard
				d.save(p)
			}
		}
	}
	// from may be an older copy of what was just saved.
	p, err := d.participant(from.id)
	if err == nil && p != nil {
		d.learnSealing(p, r.sealing, stage{r.epoch, h.counter})
	}
	return err
}

// vouch takes in a member on another's word, unless it was removed. What is too
// much, or a weak key, is left out: the message that says it is genuine.
func (d *draft) vouch(epoch uint32, key []byte, by ID) error {
	if weakKey(key) || d.isGone(IDOf(key)) {
		return nil
	}
	if _, err := d.admitTo(epoch, key, by, d.vouched()); err != nil && !errors.Is(err, ErrCrowded) {
		return err
	}
	return nil
}

// dropUnnamed drops those whom a rotation does not name: all members agree on who
// is in an epoch. Whom we or our user let in is still heard, and gets no key until
// it has asked again.
// Who was announced in that epoch stays.
func (d *draft) dropUnnamed(named []ID, epoch uint32) error {
	all, err := d.participants()
	if err != nil {
		return err
	}
	in := make(map[ID]bool, len(named))
	for _, id := range named {
		in[id] = true
	}
	for _, p := range all {
		if in[p.id] || p.joined >= epoch {
			continue
		}
		if p.by == d.self.id {
			p.flags |= memberOutside
			d.save(p)
		} else if err := d.drop(p.id); err != nil {
			return err
		}
	}
	return nil
}

// void takes back what a member's own rotation into this epoch has changed, since
// a rival of it removes that member: whoever was let in on its word alone goes,
// whom it removed comes back with the rival's list.
func (d *draft) void(signer ID) error {
	keys, err := d.keysOf(d.st.epoch)
	if err != nil {
		return err
	}
	named, found := map[ID]bool{}, false
	for i := range keys {
		if keys[i].signer == signer {
			found = true
			continue
		}
		for _, id := range keys[i].members {
			named[id] = true
		}
	}
	if !found {
		return nil
	}
	all, err := d.participants()
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.by == signer && !named[p.id] {
			if err := d.drop(p.id); err != nil {
				return err
			}
		}
	}
	for _, id := range d.goneIDs() {
		own := tombstone{d.st.epoch, signer}
		if all := d.tombstones(id); slices.Contains(all, own) {
			d.setTombstones(id, slices.DeleteFunc(all, func(t tombstone) bool { return t == own }))
		}
	}
	return nil
}

// afterRotation replaces our sealing key, tells the new one, and, where somebody
// whom we removed got the key, rotates at once.
func (d *draft) afterRotation() error {
	if d.st.has(flagRemoved) || d.st.has(flagLacks) {
		return nil
	}
	switch {
	case d.st.mode != ForwardSecret:
	case d.newestUnused:
		d.st.set(flagAnnounce, true) // once more
	default:
		if err := d.newSealing(); err != nil {
			return err
		}
	}
	if !d.canPost() {
		return nil
	}
	if d.st.has(flagDirty) {
		k, err := d.sendingKey()
		if err != nil {
			return err
		}
		for _, id := range d.leaks(k) {
			if slices.ContainsFunc(d.tombstones(id), func(t tombstone) bool { return t.by == d.self.id }) {
				_, err := d.rotate(nil, nil)
				return err
			}
		}
	}
	// While we catch up, the others have gone on: nobody could open what we announce in
	// the epochs between. The next rotation or message of ours tells it.
	if d.st.has(flagAnnounce) && !(d.newestUnused && d.catchingUp) {
		return d.announce()
	}
	return nil
}

// takeAnnouncement takes in a member's sealing key and, within the epoch, whom it
// counts as members.
func (d *draft) takeAnnouncement(from *participant, h *header, body []byte) error {
	a, err := parseAnnouncement(body)
	if err != nil {
		return err
	}
	d.learnSealing(from, a.sealing, stage{h.epoch, h.counter})
	if h.epoch != d.st.epoch {
		return nil
	}
	for _, k := range a.members {
		if err := d.vouch(h.epoch, k, from.id); err != nil {
			return err
		}
	}
	return nil
}
