package ratchet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"parley"
)

// Keys of the Bucket. Chains, missing keys and digests have a turn (8 bytes, big
// endian) after the letter, the last two then a counter (4 bytes), so that Scan
// yields the oldest first.
const (
	stateKey  = "state" // the record below
	seedKey   = "seed"  // of the decapsulation key we offered last
	offerKey  = "offer" // encapsulation key the peer offered, until we answer it
	headKey   = "head"  // head of our sending chain
	chainKey  = "c"     // a chain of the peer's
	skipKey   = "k"     // key of a missing message
	digestKey = "d"     // digest of an opened packet
)

// Phases of a line. No record at all: nothing was agreed yet.
const (
	phaseOffered = 1 // we invited, and wait for an Answer
	phaseAgreed  = 2
)

// stateVersion opens the record, so that a later format is never misread.
const stateVersion = 1

const (
	offeredSize = 2 + 2*keySize
	agreedSize  = 2 + 1 + 3*32 + 8 + 32 + 64 + 32 + 32 + 32 + 32 + 4 + 4 + 4 + 4 + 8
)

// offered is the memory of an invitation.
type offered struct {
	identity, prekey [keySize]byte // private
}

// agreed is the memory of a line. Turn n is the chain made by root step n; even
// ones are the inviter's. Keys that are done with are zero.
type agreed struct {
	inviter    bool
	transcript [32]byte
	safety     [32]byte
	origin     [32]byte // SHA-256 of the Offer (answerer) or Answer (inviter) we took

	steps  uint64 // root steps done: the newest chain is steps-1
	root   [32]byte
	ahead  [2][32]byte // header keys of the next two chains
	ours   [32]byte    // private ratchet key of our newest chain, until the peer's next
	theirs [32]byte    // public ratchet key of the peer's newest chain

	sendKey, sendHeader [32]byte // chain and header key of our newest chain, until the peer's next
	sent                uint32   // messages in our newest chain

	skipped, digests, chains uint32 // entries in the Bucket
	dropped                  uint64 // keys of missing messages that were dropped
}

// ourTurn reports whether the next chain is ours to begin.
func (s *agreed) ourTurn() bool { return (s.steps%2 == 0) == s.inviter }

// waiting reports whether we answered and have heard nothing since.
func (s *agreed) waiting() bool { return !s.inviter && s.steps == 0 }

var errState = errors.New("ratchet: this line's state is damaged: agree anew")

// load reads the record: at most one of the results is not nil.
func load(b parley.Bucket) (*offered, *agreed, error) {
	p := b.Get(stateKey)
	if p == nil {
		return nil, nil, nil
	}
	if len(p) < 2 {
		return nil, nil, errState
	}
	if p[0] != stateVersion {
		return nil, nil, fmt.Errorf("ratchet: state version %d, known is %d: use a newer Parley", p[0], stateVersion)
	}
	switch {
	case p[1] == phaseOffered && len(p) == offeredSize:
		return &offered{[keySize]byte(p[2:]), [keySize]byte(p[2+keySize:])}, nil, nil
	case p[1] == phaseAgreed && len(p) == agreedSize:
		return nil, parseAgreed(p[2:]), nil
	}
	return nil, nil, errState
}

func (o *offered) save(b parley.Bucket) {
	p := append(make([]byte, 0, offeredSize), stateVersion, phaseOffered)
	b.Put(stateKey, append(append(p, o.identity[:]...), o.prekey[:]...))
}

func (s *agreed) save(b parley.Bucket) {
	p := append(make([]byte, 0, agreedSize), stateVersion, phaseAgreed, 0)
	if s.inviter {
		p[2] = 1
	}
	for _, f := range [][32]byte{s.transcript, s.safety, s.origin} {
		p = append(p, f[:]...)
	}
	p = binary.BigEndian.AppendUint64(p, s.steps)
	for _, f := range [][32]byte{s.root, s.ahead[0], s.ahead[1], s.ours, s.theirs, s.sendKey, s.sendHeader} {
		p = append(p, f[:]...)
	}
	for _, n := range []uint32{s.sent, s.skipped, s.digests, s.chains} {
		p = binary.BigEndian.AppendUint32(p, n)
	}
	b.Put(stateKey, binary.BigEndian.AppendUint64(p, s.dropped))
}

// parseAgreed is the inverse of save, of the right length.
func parseAgreed(p []byte) *agreed {
	s := &agreed{inviter: p[0] == 1}
	p = p[1:]
	take := func(fields ...*[32]byte) {
		for _, f := range fields {
			*f, p = [32]byte(p), p[32:]
		}
	}
	take(&s.transcript, &s.safety, &s.origin)
	s.steps, p = binary.BigEndian.Uint64(p), p[8:]
	take(&s.root, &s.ahead[0], &s.ahead[1], &s.ours, &s.theirs, &s.sendKey, &s.sendHeader)
	for _, n := range []*uint32{&s.sent, &s.skipped, &s.digests, &s.chains} {
		*n, p = binary.BigEndian.Uint32(p), p[4:]
	}
	s.dropped = binary.BigEndian.Uint64(p)
	return s
}

// Status is what a face may tell about a line.
type Status struct {
	Agreed  bool   // keys are agreed
	Ready   bool   // and Seal will work
	Turns   uint64 // changes of direction so far, each with a fresh key
	Missing int    // messages that were sent and have not come, and still can
	Dropped uint64 // and those that can no longer be opened: their keys were dropped
}

// StatusOf reads the state of the line.
func StatusOf(c *parley.Conversation) (Status, error) {
	_, s, err := load(c.State)
	if s == nil || err != nil {
		return Status{}, err
	}
	return Status{Agreed: true, Ready: !s.waiting(), Turns: s.steps, Missing: int(s.skipped), Dropped: s.dropped}, nil
}

// Reset forgets the line, so that it can be agreed anew with Introduce or Open
// and Admit: after a backup was restored, or after [ErrForked]. The new safety
// number differs, and must be compared anew. What was sealed before and has not
// come yet can't be opened afterwards.
func (*Transport) Reset(c *parley.Conversation) {
	var keys []string
	for k := range c.State.Scan("") {
		keys = append(keys, k)
	}
	for _, k := range keys {
		c.State.Delete(k)
	}
}

// SafetyNumber returns 32 bytes that are equal on both sides exactly when nobody
// sits between them. It binds both identity keys of the line and the X25519 keys
// of its agreement. Before these are agreed it fails with [parley.ErrNoKey].
func SafetyNumber(c *parley.Conversation) ([]byte, error) {
	_, s, err := load(c.State)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("ratchet: nothing agreed yet: %w", parley.ErrNoKey)
	}
	return append([]byte(nil), s.safety[:]...), nil
}

// SafetyNumber is [SafetyNumber], for callers that hold only the plug-in.
func (*Transport) SafetyNumber(c *parley.Conversation) ([]byte, error) { return SafetyNumber(c) }
