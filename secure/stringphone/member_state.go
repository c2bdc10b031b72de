package stringphone

import (
	"crypto/ed25519"
	"encoding/binary"
	"math"
	"time"

	"parley"
)

// Keys of the Bucket. Big-endian numbers and IDs follow the letter, so that Scan
// yields the oldest first.
const (
	selfRow    = "self"  // identity
	stateRow   = "state" // record
	introRow   = "intro" // introduction: private key and packet
	sealingRow = "s"     // private sealing keys, newest first
	memberRow  = "p"     // ID: participant
	goneRow    = "t"     // ID: tombstone of who was removed
	backRow    = "b"     // ID of a member: the highest epoch that it was removed with, before it came back
	epochRow   = "e"     // epoch: its keys
	chainRow   = "k"     // epoch, tag, ID: chain
	skipRow    = "m"     // epoch, tag, ID, index: key of a missing message
	countRow   = "n"     // ID: counters seen
	guardRow   = "g"     // kind, shard: tags seen
)

// stateVersion opens identity and record, so that a later format is not misread.
const stateVersion = 1

// Flags of a record.
const (
	flagKey      = 1 << iota // a topic key is known
	flagRemoved              // we were removed
	flagLacks                // a rotation left us out
	flagAnnounce             // our sealing key has not been told in this epoch
	flagDirty                // the key to send with is known to somebody who was removed
)

// A record is the small state that most calls change.
type record struct {
	mode    Mode
	flags   uint8
	epoch   uint32
	counter uint64
	members uint16 // entries in memberRow, without us
	gone    uint16 // entries in goneRow
	guard   [32]byte
}

const recordSize = 1 + 1 + 1 + 4 + 8 + 2 + 2 + 32

func (r record) has(flag uint8) bool { return r.flags&flag != 0 }

func (r *record) set(flag uint8, on bool) {
	r.flags &^= flag
	if on {
		r.flags |= flag
	}
}

func (r *record) marshal() []byte {
	p := append(make([]byte, 0, recordSize), stateVersion, byte(r.mode), r.flags)
	p = binary.BigEndian.AppendUint32(p, r.epoch)
	p = binary.BigEndian.AppendUint64(p, r.counter)
	p = binary.BigEndian.AppendUint16(p, r.members)
	p = binary.BigEndian.AppendUint16(p, r.gone)
	return append(p, r.guard[:]...)
}

func loadRecord(b parley.Bucket) (r record, err error) {
	p := b.Get(stateRow)
	if len(p) != recordSize || p[0] != stateVersion {
		return r, errDamaged
	}
	return record{
		mode: Mode(p[1]), flags: p[2], epoch: binary.BigEndian.Uint32(p[3:]), counter: binary.BigEndian.Uint64(p[7:]),
		members: binary.BigEndian.Uint16(p[15:]), gone: binary.BigEndian.Uint16(p[17:]), guard: [32]byte(p[19:]),
	}, nil
}

// An identity is who we are, which never changes, and how we let ourselves be
// answered.
type identity struct {
	private ed25519.PrivateKey
	id      ID
	setup   Setup // without seed and topic key
	topic   [16]byte
}

func (i *identity) public() ed25519.PublicKey { return ed25519.PublicKey(i.private[32:]) }

// typeByte is what our messages begin with.
func (i *identity) typeByte() byte {
	if i.setup.ManualType {
		return byte(TypeManual)
	}
	return byte(TypeMessage)
}

func (i *identity) marshal() []byte {
	s := i.setup
	s.Seed, s.TopicKey, s.Trust = nil, nil, nil
	return append(append([]byte{stateVersion}, i.private...), s.marshal()...)
}

func parseIdentity(p []byte) (identity, error) {
	if len(p) < 1+ed25519.PrivateKeySize || p[0] != stateVersion {
		return identity{}, errDamaged
	}
	i := identity{private: ed25519.PrivateKey(append([]byte(nil), p[1:1+ed25519.PrivateKeySize]...))}
	if err := i.setup.UnmarshalBinary(p[1+ed25519.PrivateKeySize:]); err != nil {
		return identity{}, errDamaged
	}
	i.id, i.topic = IDOf(i.public()), topicHash(i.setup.Name)
	return i, nil
}

// A participant is an entry of memberRow.
type participant struct {
	id      ID
	key     ed25519.PublicKey
	by      ID
	since   uint64 // Unix ms
	joined  uint32 // the last epoch of which we know otherwise than by its rotation that it is in
	flags   uint8
	sealing [32]byte // its X25519 key for rotations; zero: not known
	stage   stage    // of the packet that told it
	answers []uint64 // when its introductions were answered: the last ones, Unix ms
}

// A stage orders what one member tells about itself.
type stage struct {
	epoch   uint32
	counter uint64
}

func (s stage) before(o stage) bool {
	return s.epoch < o.epoch || s.epoch == o.epoch && s.counter < o.counter
}

const (
	memberTrusted    = 1 << iota // its messages are taken
	memberDistrusted             // the user said no: others' word does not change it
	memberOutside                // we let it in, and the others' rotation does not name it: heard, not sealed to
	memberHeard                  // it wrote under our epoch's key since it was answered: it has the answer
)

const (
	participantSize = 32 + 16 + 8 + 4 + 1 + 32 + 4 + 8
	maxAnswers      = 5
	answerSpan      = 10 * time.Minute
)

func (p *participant) marshal() []byte {
	b := make([]byte, 0, participantSize+8*len(p.answers))
	b = append(append(b, p.key...), p.by[:]...)
	b = binary.BigEndian.AppendUint64(b, p.since)
	b = binary.BigEndian.AppendUint32(b, p.joined)
	b = append(append(b, p.flags), p.sealing[:]...)
	b = binary.BigEndian.AppendUint32(b, p.stage.epoch)
	b = binary.BigEndian.AppendUint64(b, p.stage.counter)
	for _, t := range p.answers {
		b = binary.BigEndian.AppendUint64(b, t)
	}
	return b
}

func parseParticipant(b []byte) (*participant, error) {
	if len(b) < participantSize || (len(b)-participantSize)%8 != 0 {
		return nil, errDamaged
	}
	p := &participant{
		key: ed25519.PublicKey(append([]byte(nil), b[:32]...)), by: ID(b[32:]), since: binary.BigEndian.Uint64(b[48:]),
		joined: binary.BigEndian.Uint32(b[56:]), flags: b[60], sealing: [32]byte(b[61:]),
		stage: stage{binary.BigEndian.Uint32(b[93:]), binary.BigEndian.Uint64(b[97:])},
	}
	p.id = IDOf(p.key)
	for b = b[participantSize:]; len(b) > 0; b = b[8:] {
		p.answers = append(p.answers, binary.BigEndian.Uint64(b))
	}
	return p, nil
}

func (p *participant) trusted() bool { return p.flags&memberTrusted != 0 }
func (p *participant) heard() bool   { return p.flags&memberHeard != 0 }
func (p *participant) outside() bool { return p.flags&memberOutside != 0 }

func row(letter string, id ID) string { return letter + string(id[:]) }

func numbered(letter string, n uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte(letter), n))
}

// millis is a time as it travels: Unix milliseconds, never negative.
func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// maxMillis is the end of the year 9999, the last that every form of a time shows.
const maxMillis = 253402300799999

func timeOf(ms uint64) time.Time {
	return time.UnixMilli(int64(min(ms, math.MaxInt64))).UTC()
}
