package parleytest

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"parley"
	"parley/secure/otp"
)

// A Pad is one end of a one-time pad in memory, which outlives its owner's crashes. It
// keeps the promises of [otp.Pad] and fails the test of whoever makes it break one. Each
// half is used upwards, for simplicity.
type Pad struct {
	// Asks is the person at the device, who is asked before pad is used; nil: always yes.
	Asks func(what string, peer parley.Name) error

	t          testing.TB
	mu         sync.Mutex
	self, peer parley.Name
	version    otp.Version
	lane       int
	bytes      []byte
	pos        int64
	seq        uint64
	packs      map[[16]byte][]byte // by id, until done
	texts      map[[16]byte][]byte
	made       map[[32]byte][16]byte
	opened     map[[32]byte]*otp.Opened // until done
	seen       map[int64]bool
	highest    uint64
}

var padsMade atomic.Uint32

// NewPads makes alice's and bob's ends of a pad of so many bytes.
func NewPads(t testing.TB, v otp.Version, size int64) (alice, bob *Pad) {
	n := padsMade.Add(1) // no two pads are equal
	bits := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	r.Read(bits)
	end := func(self, peer parley.Name, lane int) *Pad {
		return &Pad{t: t, self: self, peer: peer, version: v, lane: lane, bytes: bits, packs: map[[16]byte][]byte{}, texts: map[[16]byte][]byte{},
			made: map[[32]byte][16]byte{}, opened: map[[32]byte]*otp.Opened{}, seen: map[int64]bool{}}
	}
	return end("alice", "bob", 0), end("bob", "alice", 1)
}

func (p *Pad) use(m int) int64 {
	if p.version == otp.V1 {
		return otp.UseV1(m)
	}
	return otp.Use(m)
}

// Package is [otp.Pad]'s.
func (p *Pad) Package(_ context.Context, id [16]byte, peer parley.Name, msg []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if packet := p.packs[id]; packet != nil {
		if !bytes.Equal(p.texts[id], msg) {
			p.t.Errorf("%s: one id for two messages", p.self)
			return nil, parley.ErrRefused
		}
		return packet, nil
	}
	if p.Asks != nil {
		if err := p.Asks("package", peer); err != nil {
			return nil, err
		}
	}
	use := p.use(len(msg))
	if p.pos+use > int64(len(p.bytes))/2 {
		return nil, fmt.Errorf("%w: %w", parley.ErrRefused, otp.ErrDepleted)
	}
	at := p.pos + int64(p.lane)*int64(len(p.bytes))/2
	p.pos += use
	p.seq++
	var packet []byte
	var err error
	if p.version == otp.V1 {
		packet, err = otp.SealV1(at, msg, p.bytes[at:at+use])
	} else {
		packet, err = otp.Seal(otp.Header{Lane: uint8(p.lane), Offset: uint64(at), Seq: p.seq}, otp.Inner{Kind: otp.KindMessage, Body: msg}, p.bytes[at:at+use])
	}
	if err != nil {
		return nil, err
	}
	p.packs[id], p.texts[id], p.made[otp.Digest(packet)] = packet, slices.Clone(msg), id
	return packet, nil
}

// Unpackage is [otp.Pad]'s.
func (p *Pad) Unpackage(_ context.Context, peer parley.Name, packet []byte) (*otp.Opened, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	digest := otp.Digest(packet)
	if o := p.opened[digest]; o != nil {
		return o, nil
	}
	var at, use int64
	var seq uint64
	var err error
	if p.version == otp.V1 {
		var m int
		if at, m, err = otp.ParseV1(packet); err == nil {
			use = otp.UseV1(m)
		}
	} else {
		var h otp.Header
		h, use, err = otp.Parse(packet)
		at, seq = int64(h.Offset), h.Seq
	}
	if err != nil {
		return nil, err
	}
	half := int64(len(p.bytes)) / 2
	if start := int64(1-p.lane) * half; at < start || at+use > start+half {
		return nil, parley.ErrForged
	}
	o := &otp.Opened{Offset: at, Seq: seq}
	if p.version == otp.V1 {
		o.Message, err = otp.OpenV1(packet, p.bytes[at:at+use])
	} else {
		var in otp.Inner
		if in, err = otp.Open(packet, p.bytes[at:at+use]); err == nil {
			o.Message = in.Body
		}
	}
	if err != nil {
		return nil, err
	}
	if p.seen[at] {
		return nil, parley.ErrSeen
	}
	if p.Asks != nil {
		if err := p.Asks("unpackage", peer); err != nil {
			return nil, err
		}
	}
	p.seen[at] = true
	if seq > p.highest+1 {
		o.Missing, o.Skipped = seq-p.highest-1, true
	}
	p.highest = max(p.highest, seq)
	p.opened[digest] = o
	return o, nil
}

// Done is [otp.Pad]'s.
func (p *Pad) Done(_ context.Context, peer parley.Name, digest [32]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, ok := p.made[digest]; ok {
		delete(p.packs, id)
		delete(p.texts, id)
		delete(p.made, digest)
	}
	if p.opened[digest] != nil {
		delete(p.opened, digest)
	}
	return nil
}

// Status is [otp.Pad]'s.
func (p *Pad) Status(context.Context, parley.Name) (otp.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := int64(len(p.bytes))/2 - p.pos
	return otp.Status{Version: p.version, Self: p.self, Peer: p.peer, Size: int64(len(p.bytes)), Left: left, Largest: left/2 - 64, Source: "a test", Lane: p.lane}, nil
}

// Pending is how many packets the pad was not told to be safe.
func (p *Pad) Pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.packs) + len(p.opened)
}

// Used is how many bytes of pad were sent with.
func (p *Pad) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pos
}

// Ask puts another person at the device.
func (p *Pad) Ask(asks func(what string, peer parley.Name) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Asks = asks
}

// A PadRing is a keyring with a pad in it, or without one.
type PadRing struct{ Pad otp.Pad }

// Private is [parley.Keyring]'s.
func (r PadRing) Private(_ context.Context, kind parley.KeyKind, _ parley.Name) (crypto.PrivateKey, error) {
	if kind != otp.KindPad || r.Pad == nil {
		return nil, parley.ErrNoKey
	}
	return r.Pad, nil
}

// Public is [parley.Keyring]'s.
func (PadRing) Public(context.Context, parley.KeyKind, parley.Name) (crypto.PublicKey, error) {
	return nil, parley.ErrNoKey
}
