package stringphone

import (
	"crypto/ed25519"
	"encoding/binary"
	"slices"
)

// A rotation is the body of kind 1: it ends an epoch. What the counts allow is
// bounded by [MaxMembers], and every count is checked against the length.
type rotation struct {
	epoch   uint32 // the new one
	mode    Mode
	removed []ID
	added   []joiner
	sealing [32]byte // the signer's X25519 key for the next rotation; zero: none
	sealed  []sealedKey
}

// A joiner comes in with a rotation. Its introduction's own signature vouches for
// the X25519 key, so that a member cannot put its own key in another's place.
type joiner struct {
	key     ed25519.PublicKey
	sealing [32]byte // zero: none
	sig     [signatureSize]byte
}

// intro is the introduction that let the joiner in, byte for byte.
func (j *joiner) intro() []byte {
	b := append(make([]byte, 0, IntroSize), byte(TypeIntro))
	return append(append(append(b, j.key...), j.sig[:]...), j.sealing[:]...)
}

// A sealedKey is the new epoch's key for one member. All zero but key: it is a
// member, and the signer knows no key to seal to.
type sealedKey struct {
	key ed25519.PublicKey
	enc [32]byte
	box [KeySize + macSize]byte
}

const (
	joinerSize    = PublicKeySize + KeySize + signatureSize
	sealedKeySize = PublicKeySize + 32 + KeySize + macSize
)

func (r *rotation) marshal() []byte {
	b := make([]byte, 0, 5+2+IDSize*len(r.removed)+2+joinerSize*len(r.added)+32+2+sealedKeySize*len(r.sealed))
	b = append(binary.BigEndian.AppendUint32(b, r.epoch), byte(r.mode))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.removed)))
	for _, id := range r.removed {
		b = append(b, id[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.added)))
	for _, j := range r.added {
		b = append(append(append(b, j.key...), j.sealing[:]...), j.sig[:]...)
	}
	b = append(b, r.sealing[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.sealed)))
	for _, s := range r.sealed {
		b = append(append(append(b, s.key...), s.enc[:]...), s.box[:]...)
	}
	return b
}

// parseRotation reads what marshal wrote, and nothing else. The error is
// [ErrMalformed].
func parseRotation(b []byte) (*rotation, error) {
	c := cursor{rest: b}
	r := &rotation{epoch: c.uint32(), mode: Mode(c.byte())}
	r.removed = c.ids(2 * MaxMembers)
	for range c.count(MaxMembers, joinerSize) {
		r.added = append(r.added, joiner{c.key(), [32]byte(c.take(32)), [signatureSize]byte(c.take(signatureSize))})
	}
	r.sealing = [32]byte(c.take(32))
	for range c.count(MaxMembers, sealedKeySize) {
		r.sealed = append(r.sealed, sealedKey{c.key(), [32]byte(c.take(32)), [KeySize + macSize]byte(c.take(KeySize + macSize))})
	}
	if !c.done() {
		return nil, badFormat("a rotation that is cut short or has something behind it")
	}
	return r, nil
}

// An announcement is the body of kind 2.
type announcement struct {
	members []ed25519.PublicKey // whom the signer counts as members
	sealing [32]byte            // the signer's X25519 key for the next rotation; zero: none
}

func (a *announcement) marshal() []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+32*len(a.members)+32), uint16(len(a.members)))
	for _, k := range a.members {
		b = append(b, k...)
	}
	return append(b, a.sealing[:]...)
}

func parseAnnouncement(b []byte) (*announcement, error) {
	c := cursor{rest: b}
	a := &announcement{members: c.keys(MaxMembers), sealing: [32]byte(c.take(32))}
	if !c.done() {
		return nil, badFormat("an announcement that is cut short or has something behind it")
	}
	return a, nil
}

// A grant is what is behind a reply's signature: what a joiner must know besides
// the topic key.
type grant struct {
	mode    Mode
	epoch   uint32
	hash    [32]byte            // of the rotation that made the key; zero: none did
	sealing [32]byte            // the replier's X25519 key for rotations; zero: none
	members []ed25519.PublicKey // the joiner and the replier among them; none in Plain
	removed []ID
	back    []returned
}

// A returned is a member that was removed once, and let in again: epoch is the highest
// one that it was removed with.
type returned struct {
	id    ID
	epoch uint32
}

const returnedSize = IDSize + 4

const grantVersion = 1

func (g *grant) marshal() []byte {
	b := append([]byte{grantVersion, byte(g.mode)}, binary.BigEndian.AppendUint32(nil, g.epoch)...)
	b = append(append(b, g.hash[:]...), g.sealing[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(g.members)))
	for _, k := range g.members {
		b = append(b, k...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(g.removed)))
	for _, id := range g.removed {
		b = append(b, id[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(g.back)))
	for _, r := range g.back {
		b = binary.BigEndian.AppendUint32(append(b, r.id[:]...), r.epoch)
	}
	return b
}

// parseGrant reads what marshal wrote; nothing at all means the original's topic.
func parseGrant(b []byte) (*grant, error) {
	if len(b) == 0 {
		return new(grant), nil
	}
	c := cursor{rest: b}
	if v := c.byte(); v != grantVersion {
		return nil, badFormat("a reply of version %d, known is %d", v, grantVersion)
	}
	g := &grant{mode: Mode(c.byte()), epoch: c.uint32(), hash: [32]byte(c.take(32)), sealing: [32]byte(c.take(32))}
	g.members, g.removed = c.keys(MaxMembers), c.ids(MaxMembers)
	for range c.count(MaxMembers, returnedSize) {
		g.back = append(g.back, returned{ID(c.take(IDSize)), c.uint32()})
	}
	if !c.done() || g.mode > ForwardSecret || g.mode == Plain && g.epoch != 0 {
		return nil, badFormat("a reply whose extension cannot be read")
	}
	return g, nil
}

// A cursor reads fields; after the first that is missing it yields zeros.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n > len(c.rest) {
		c.bad = true
		return make([]byte, n)
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte() byte             { return c.take(1)[0] }
func (c *cursor) uint16() uint16         { return binary.BigEndian.Uint16(c.take(2)) }
func (c *cursor) uint32() uint32         { return binary.BigEndian.Uint32(c.take(4)) }
func (c *cursor) key() ed25519.PublicKey { return slices.Clone(c.take(PublicKeySize)) }
func (c *cursor) done() bool             { return !c.bad && len(c.rest) == 0 }

// count reads a count of things of a size each, which must be there.
func (c *cursor) count(limit, size int) int {
	n := int(c.uint16())
	if n > limit || n*size > len(c.rest) {
		c.bad = true
		return 0
	}
	return n
}

func (c *cursor) keys(limit int) []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	for range c.count(limit, PublicKeySize) {
		keys = append(keys, c.key())
	}
	return keys
}

func (c *cursor) ids(limit int) []ID {
	var ids []ID
	for range c.count(limit, IDSize) {
		ids = append(ids, ID(c.take(IDSize)))
	}
	return ids
}
