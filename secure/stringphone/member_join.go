package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math"
	"time"
)

// An introduction of ours, and the private key behind it.
type introduction struct {
	answered bool
	tries    uint8 // how often it was sent, by one who had a key already
	private  [KeySize]byte
	packet   []byte
}

func (d *draft) introduction() *introduction {
	b := d.get(introRow)
	if len(b) != 1+KeySize+IntroSize {
		return nil
	}
	return &introduction{answered: b[0]&1 != 0, tries: b[0] >> 1, private: [KeySize]byte(b[1:]), packet: b[1+KeySize:]}
}

func (d *draft) saveIntroduction(in *introduction) {
	b := append(make([]byte, 0, 1+KeySize+IntroSize), min(in.tries, 127)<<1)
	if in.answered {
		b[0] |= 1
	}
	d.put(introRow, append(append(b, in.private[:]...), in.packet...))
}

// sameIntro is how often a member that needs a newer key sends one introduction.
// The answer to it may be lost, and nobody gives it twice.
const sameIntro = 4

// Introduce asks whoever has the topic key for it, and to trust our key, in
// [IntroSize] bytes. Until an answer was accepted it returns the same packet,
// so that it can be sent again and again; afterwards one with a fresh key. Who has
// a key, and asks for a newer one, gets a fresh one every fourth time too.
func (m *Member) Introduce(now time.Time) (packet []byte, err error) {
	err = m.do(now, func(d *draft) error {
		in, member := d.introduction(), d.st.has(flagKey)
		if in == nil || in.answered || member && in.tries >= sameIntro {
			k, err := d.newKey()
			if err != nil {
				return err
			}
			public, err := publicSealing(k)
			if err != nil {
				return err
			}
			in = &introduction{private: k, packet: makeIntro(d.self.private, public[:])}
			d.saveIntroduction(in)
		}
		if member {
			in.tries++
			d.saveIntroduction(in)
		}
		packet = bytes.Clone(in.packet)
		return nil
	})
	return packet, err
}

// Accept takes in a reply to our introduction: it trusts the replier, and takes
// the topic key, and what the reply's signed extension says of the topic: mode,
// epoch, members. An unsigned reply, where the setup accepts it, gives a Plain
// topic's key, and nobody is trusted for it.
//
// Once we have a key, a reply with the same one lets us trust its sender; another
// key is taken only of a later epoch (or of any, if we need one), and only from
// a trusted member or a pinned key. The errors are [ErrMalformed],
// [ErrWrongReply], [ErrUnsignedReply], [ErrBadSignature], [ErrNotPinned],
// [ErrUntrustedKey], [ErrWrongTopicKey], [ErrMode] and, when we need a newer key
// and the reply has the one that we know, [ErrEpoch]: another may still come.
func (m *Member) Accept(now time.Time, reply []byte) error {
	return m.accept(now, reply, nil)
}

// AcceptFrom is Accept for a user who has decided to believe that key, 32 bytes: a
// signed reply of its owner is taken also if it is neither trusted nor pinned, or was
// removed. Whoever was removed itself comes back so by somebody whom it did not know.
func (m *Member) AcceptFrom(now time.Time, reply []byte, key ed25519.PublicKey) error {
	return m.accept(now, reply, key)
}

func (m *Member) accept(now time.Time, reply []byte, believed ed25519.PublicKey) error {
	err := m.do(now, func(d *draft) error { return d.accept(reply, d.hinted(d.st.epoch), believed) })
	if err == nil {
		for id := range m.hints {
			m.settleHint(id)
		}
	}
	return err
}

func (d *draft) accept(reply []byte, lacks bool, believed ed25519.PublicKey) error {
	if t, err := Message(reply).Type(); err != nil {
		return err
	} else if t != TypeReply || len(reply) < shortestReply {
		return badFormat("%v of %d bytes where a reply of at least %d belongs", t, len(reply), shortestReply)
	}
	in := d.introduction()
	if in == nil || !bytes.Equal(reply[1:replyKeyAt], d.self.id[:]) {
		return ErrWrongReply
	}
	box, err := AsymmetricCryptoFromKey(in.private[:])
	if err != nil {
		return errDamaged
	}
	if len(reply) < SignedReplySize {
		return d.acceptUnsigned(in, reply, box)
	}
	from, ext, err := checkReply(in.packet, reply, d.self.setup.Pins)
	if err != nil {
		return err
	}
	g, err := parseGrant(ext)
	if err != nil {
		return err
	}
	b, err := openReply(reply, box)
	if err != nil {
		return err
	}
	key := [KeySize]byte(b)
	if !d.st.has(flagKey) {
		if g.mode < d.self.setup.Mode {
			return fmt.Errorf("%w: the topic is %v, and we accept at least %v", ErrMode, g.mode, d.self.setup.Mode)
		}
		return d.join(in, from, g, key)
	}
	if g.mode != d.st.mode {
		return fmt.Errorf("%w: the reply is for a topic that is %v, and ours is %v", ErrMode, g.mode, d.st.mode)
	}
	if same, err := d.holds(g, key); err != nil {
		return err
	} else if same && (lacks || d.st.has(flagLacks)) {
		return fmt.Errorf("%w: who answered lacks it too", ErrEpoch)
	} else if same && !d.st.has(flagRemoved) {
		_, err := d.admit(from, d.self.id, memberTrusted)
		if err == nil {
			d.answered(in)
		}
		return err
	}
	p, err := d.participant(IDOf(from))
	switch {
	case err != nil:
		return err
	case d.st.mode == Plain:
		return ErrWrongTopicKey
	case g.epoch <= d.st.epoch && !lacks && !d.st.has(flagLacks) && !d.st.has(flagRemoved):
		return ErrWrongTopicKey
	case (p == nil || !p.trusted()) && len(d.self.setup.Pins) == 0 && !bytes.Equal(from, believed):
		return ErrUntrustedKey
	}
	return d.join(in, from, g, key)
}

// acceptUnsigned takes an original's reply: nobody vouches for the key.
func (d *draft) acceptUnsigned(in *introduction, reply []byte, box *AsymmetricCrypto) error {
	switch s := &d.self.setup; {
	case !s.AcceptUnsigned || len(s.Pins) > 0:
		return ErrUnsignedReply
	case s.Mode != Plain:
		return fmt.Errorf("%w: an unsigned reply is for a plain topic, and we accept at least %v", ErrMode, s.Mode)
	}
	b, err := openReply(reply, box)
	if err != nil {
		return err
	}
	if d.st.has(flagKey) {
		if k, err := d.sendingKey(); err != nil {
			return err
		} else if d.st.mode != Plain || !bytes.Equal(k.key[:], b) {
			return ErrWrongTopicKey
		}
		return nil
	}
	d.st.mode = Plain
	d.answered(in)
	return d.begin([KeySize]byte(b))
}

// holds reports whether we have the key of a reply.
func (d *draft) holds(g *grant, key [KeySize]byte) (bool, error) {
	keys, err := d.keysOf(g.epoch)
	if err != nil {
		return false, err
	}
	for i := range keys {
		if keys[i].passed {
			continue
		}
		if d.st.mode == ForwardSecret && keys[i].hash == g.hash || d.st.mode != ForwardSecret && keys[i].key == key {
			return true, nil
		}
	}
	return false, nil
}

// join takes over a topic as a reply describes it.
func (d *draft) join(in *introduction, from ed25519.PublicKey, g *grant, key [KeySize]byte) error {
	again, replier := d.st.has(flagKey), IDOf(from)
	d.st.mode = g.mode
	d.st.set(flagKey, true)
	d.st.set(flagRemoved, false)
	d.st.set(flagLacks, false)
	d.answered(in)
	since, _ := d.goneSince(replier)
	d.raise(replier)
	p, err := d.admit(from, d.self.id, memberTrusted)
	if err != nil {
		return err
	}
	if p == nil {
		return badFormat("a reply of our own")
	}
	if g.mode == Plain {
		return d.begin(key)
	}
	for _, id := range g.removed {
		if id != d.self.id && id != replier {
			if err := d.expel(id, g.epoch, replier); err != nil {
				return err
			}
		}
	}
	// Whom the others let in again while we were away is back for us too; whom the
	// replier has not heard to be removed is not.
	back := make(map[ID]uint32, len(g.back))
	for _, r := range g.back {
		back[r.id] = r.epoch
	}
	if g.epoch > 0 {
		d.noteBack(d.self.id, g.epoch-1)
	}
	d.noteBack(replier, max(since, back[replier]))
	k := epochKey{hash: g.hash, key: key, members: []ID{replier, d.self.id}}
	for _, m := range g.members {
		if id := IDOf(m); id != replier && id != d.self.id {
			k.members = append(k.members, id)
			if since, gone := d.goneSince(id); gone && since <= back[id] {
				d.raise(id)
			}
		}
		if err := d.vouch(g.epoch, m, replier); err != nil {
			return err
		}
		if epoch, let := back[IDOf(m)]; let {
			d.noteBack(IDOf(m), epoch)
		}
	}
	if again {
		if err := d.dropUnnamed(k.members, math.MaxUint32); err != nil {
			return err
		}
	}
	d.learnSealing(p, g.sealing, stage{g.epoch, 0})
	if again && g.epoch <= d.st.epoch {
		err = d.stepBack(g.epoch)
	}
	if err == nil {
		err = d.enterEpoch(g.epoch, k)
	}
	if err != nil {
		return err
	}
	return d.afterRotation()
}

// stepBack prepares for a key of our epoch, or of one before it: the others are
// there, and we went on alone. Keys of ours stay for receiving only.
func (d *draft) stepBack(epoch uint32) error {
	keys, err := d.keysOf(epoch)
	if err != nil || keys == nil {
		return err
	}
	for i := range keys {
		keys[i].passed = true
	}
	d.put(numbered(epochRow, epoch), marshalKeys(keys))
	return nil
}

// answered ends an introduction. In Plain its key stays until the next one, so
// that other members' replies can show that they hold the same topic key;
// elsewhere it could open this reply for a thief, and is erased.
func (d *draft) answered(in *introduction) {
	if d.st.mode == Plain {
		in.answered = true
		d.saveIntroduction(in)
		return
	}
	d.delete(introRow)
}
