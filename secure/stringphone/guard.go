package stringphone

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// A digest names a box: 16 bytes of the SHA-256 of its nonce, MAC and ciphertext.
// It leaves the signature out, so that a member who signs another's box anew, as
// its own, repeats it.
type digest [16]byte

// guardDigest is the digest of a whole message of at least 121 bytes.
func guardDigest(packet []byte) digest {
	sum := sha256.Sum256(packet[boxAt:])
	return digest(sum[:16])
}

// A Guard refuses boxes that it has seen: the original takes a message as often
// as somebody sends it. It remembers the last boxes only; what is older is the
// business of a [Member]'s counters. Save it with [Guard.MarshalBinary] before
// acting on a message, and it holds across restarts. It is not safe for
// concurrent use.
type Guard struct {
	seen map[digest]struct{}
	ring []digest // oldest at next once it is full
	next int
	size int
}

// NewGuard makes a Guard that remembers size boxes, 16 bytes each; 0 means 65,536.
func NewGuard(size int) *Guard {
	if size <= 0 {
		size = defaultGuarded
	}
	return &Guard{seen: make(map[digest]struct{}), size: size}
}

// has reports whether d is remembered, and add remembers it.
func (g *Guard) has(d digest) bool {
	_, ok := g.seen[d]
	return ok
}

func (g *Guard) add(d digest) {
	if g.has(d) {
		return
	}
	if len(g.ring) < g.size {
		g.ring = append(g.ring, d)
	} else {
		delete(g.seen, g.ring[g.next])
		g.ring[g.next] = d
		g.next = (g.next + 1) % g.size
	}
	g.seen[d] = struct{}{}
}

// Len returns how many boxes are remembered.
func (g *Guard) Len() int { return len(g.ring) }

// Size returns how many boxes can be remembered.
func (g *Guard) Size() int { return g.size }

// Newest returns the 16 bytes that the last box added to what MarshalBinary
// returns, for who keeps a guard in a file and appends to it; false if none has
// come.
func (g *Guard) Newest() (digest [16]byte, ok bool) {
	n := len(g.ring)
	if n == 0 {
		return digest, false
	}
	return g.ring[(g.next+n-1)%n], true
}

const guardVersion = 1

// MarshalBinary returns a version byte, the capacity (4 bytes, big endian) and
// the digests, oldest first.
func (g *Guard) MarshalBinary() ([]byte, error) {
	b := make([]byte, 5, 5+16*len(g.ring))
	b[0] = guardVersion
	binary.BigEndian.PutUint32(b[1:], uint32(g.size))
	for i := range g.ring {
		d := g.ring[(g.next+i)%len(g.ring)]
		b = append(b, d[:]...)
	}
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote, also with up to twice as many
// digests behind it as fit, of which the last are kept. The error is
// [ErrMalformed].
func (g *Guard) UnmarshalBinary(b []byte) error {
	if len(b) < 5 || b[0] != guardVersion || (len(b)-5)%16 != 0 {
		return fmt.Errorf("%w: a replay guard of %d bytes", ErrMalformed, len(b))
	}
	size := int(binary.BigEndian.Uint32(b[1:]))
	if n := (len(b) - 5) / 16; size == 0 || size > 1<<24 || n > 3*size {
		return fmt.Errorf("%w: a replay guard of %d digests that has %d", ErrMalformed, size, n)
	}
	n := NewGuard(size)
	for b = b[5:]; len(b) > 0; b = b[16:] {
		n.add(digest(b))
	}
	*g = *n
	return nil
}
