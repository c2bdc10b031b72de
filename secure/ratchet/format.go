package ratchet

import (
	"crypto/mlkem"
	"fmt"

	"parley"
)

// Limits. All sizes are in bytes.
const (
	// PacketUnit divides the length of every Answer and every message packet, so
	// that lengths tell neither short texts apart nor what a header holds. In its
	// envelope, under SMP's end-to-end layer and signed, one unit fits a
	// 4096-byte block of SMP (seeds/smp-2020-10), the confirmation's key included.
	PacketUnit = 3328
	// MaxMessage is the largest message with its inner header (34 bytes and the
	// group ID). A text of up to 2,000 bytes travels in one unit.
	MaxMessage = 1 << 20
	// MaxPayload is the most an Answer carries; up to 2,043 fit in one unit.
	MaxPayload = 16 << 10

	// MaxSkip is how many keys of missing messages one gap may leave behind; of
	// a longer gap the latest are kept.
	MaxSkip = 1000
	// MaxSkipped is how many keys of missing messages a line keeps in all; the
	// oldest are dropped first, and [Status] counts them.
	MaxSkipped = 2000
	// MaxJump is the longest gap that is followed at all: a bound on the work
	// that one packet can cause.
	MaxJump = 1 << 16
	// MaxChains is how many chains of the peer's stay recognisable: the bound on
	// trial decryptions of one packet is one more.
	MaxChains = 32
	// MaxDigests is for how many opened packets a line can tell a repetition from
	// another packet with the same counter, at least; up to digestSlack more until
	// the oldest are dropped together.
	MaxDigests  = 512
	digestSlack = 64
)

// The first byte of everything: version 1 in the high four bits, kind in the low.
const (
	kindOffer   = 0x11
	kindAnswer  = 0x12
	kindMessage = 0x13
)

// What a chain's header holds besides the X25519 key. A header never holds both.
const (
	kemNone       = 0
	kemOffer      = 1 // an encapsulation key
	kemCiphertext = 2 // for the key offered in the chain before
)

// kemPeriod is the number of turns from one KEM offer to the next. It is odd, so
// that the sides offer in turn.
const kemPeriod = 3

// kemOf says what the header of a chain holds. Turn 0 answers the encapsulation
// key of the handshake.
func kemOf(turn uint64) byte {
	switch turn % kemPeriod {
	case 1:
		return kemOffer
	case 2:
		return kemCiphertext
	}
	if turn == 0 {
		return kemCiphertext
	}
	return kemNone
}

// Sizes of the parts.
const (
	keySize  = 32
	saltSize = 16
	tagSize  = 16
	lenSize  = 4
	ekSize   = mlkem.EncapsulationKeySize768
	ctSize   = mlkem.CiphertextSize768
	seedSize = mlkem.SeedSize

	offerSize = 1 + 2*keySize // kind, IKa, EPKa
	// The clear part of an Answer: kind, IKb, EKb, encapsulation key.
	answerHead     = 1 + 2*keySize + ekSize
	answerOverhead = answerHead + saltSize + lenSize + tagSize

	chainHeadSize  = keySize + 4 + 1 + ekSize // DH key, PN, kind of KEM field, KEM field
	headerSize     = chainHeadSize + 4        // and N
	sealedHeader   = saltSize + headerSize + tagSize
	packetOverhead = 1 + sealedHeader + saltSize + lenSize + tagSize
)

// maxPacket bounds what Open looks at; maxAnswer likewise.
var (
	maxPacket = units(packetOverhead + MaxMessage)
	maxAnswer = units(answerOverhead + MaxPayload)
)

// units rounds up to whole units.
func units(n int) int { return (n + PacketUnit - 1) / PacketUnit * PacketUnit }

// Labels: no two uses of a key share one.
const (
	labelTranscript = "parley ratchet 1 transcript"
	labelAgreement  = "parley ratchet 1 agreement"
	labelPayload    = "parley ratchet 1 payload"
	labelRoot       = "parley ratchet 1 root"
	labelHeader     = "parley ratchet 1 header"
	labelBody       = "parley ratchet 1 body"
	labelChain      = "parley ratchet 1 chain"
	labelIdentity   = "parley ratchet 1 identity"
	labelSafety     = "parley ratchet 1 safety number"
)

// ErrForked says that two different packets came under one counter: the peer
// runs two copies of its state, as after restoring a backup, or somebody else
// has a copy. It wraps [parley.ErrForked] and [parley.ErrForged]: the later packet
// is dropped. The line wants a new handshake; see [Transport.Reset].
var ErrForked = fmt.Errorf("ratchet: agree anew: %w (%w)", parley.ErrForked, parley.ErrForged)

// ErrDropped says that the packet comes too late: so many were missing that its
// key was dropped, unless it was opened long before. It wraps [parley.ErrSeen].
var ErrDropped = fmt.Errorf("ratchet: too late, its key was dropped, or long opened: %w", parley.ErrSeen)

func malformed(format string, a ...any) error {
	return fmt.Errorf("ratchet: %w: %s", parley.ErrMalformed, fmt.Sprintf(format, a...))
}

func forged(what string) error {
	return fmt.Errorf("ratchet: %w: %s", parley.ErrForged, what)
}
