package stringphone

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"slices"

	"parley"
)

// A Setup says what a member begins with. The zero value is a new identity that
// asks to be let into a topic and takes it in whatever mode it is.
type Setup struct {
	Seed     []byte // 32 bytes: our identity; nil makes one
	TopicKey []byte // 32 bytes; nil: introduce ourselves, or Found
	// Mode of the topic; for one who joins, the least that is accepted.
	Mode Mode
	// Name of the topic, at most 65,535 bytes: the MQTT topic. Headers bind it.
	Name string
	// Trust are the members that we know, at most 999.
	Trust []ed25519.PublicKey
	// Pins are the keys of whom we let ourselves be answered; none: by anybody who
	// signs.
	Pins           []ed25519.PublicKey
	AcceptUnsigned bool // take replies for which nobody vouches, as the original's are
	ManualType     bool // 'm' instead of 's'
	NoVouch        bool // don't trust whom a trusted member admits
	Found          bool // without TopicKey: make a new topic
}

const setupVersion = 1

// Flags of a marshalled setup.
const (
	setupUnsigned = 1
	setupManual   = 2
	setupNoVouch  = 4
	setupFound    = 8
	setupSeed     = 16
	setupKey      = 32
	setupAll      = 63
)

// check refuses what Create or marshal cannot use.
func (s *Setup) check() error {
	switch {
	case s.Seed != nil && len(s.Seed) != SeedSize:
		return checkSize("a seed", s.Seed, SeedSize)
	case s.TopicKey != nil && len(s.TopicKey) != KeySize:
		return checkSize("a topic key", s.TopicKey, KeySize)
	case s.TopicKey != nil && s.Found:
		return badFormat("a setup with a topic key that also founds a topic")
	case s.Mode > ForwardSecret:
		return badFormat("a setup of unknown %v", s.Mode)
	case len(s.Name) > 0xffff:
		return badFormat("a topic's name of %d bytes, at most 65535", len(s.Name))
	case len(s.Trust) >= MaxMembers || len(s.Pins) >= MaxMembers:
		return badFormat("a setup with %d trusted and %d pinned keys, at most %d each", len(s.Trust), len(s.Pins), MaxMembers-1)
	}
	for _, k := range slices.Concat(s.Trust, s.Pins) {
		if err := checkSize("a public key", k, PublicKeySize); err != nil {
			return err
		}
		if weakKey(k) {
			return badFormat("a public key that nobody honest has")
		}
	}
	return nil
}

// MarshalBinary returns the setup's bytes: version 1, mode, flags (1 AcceptUnsigned,
// 2 ManualType, 4 NoVouch, 8 Found, 16 seed, 32 topic key), seed and topic key if
// there, then name, trusted and pinned keys, each with a count of 2 bytes, big
// endian. They are as secret as the keys in them. The error is [ErrMalformed].
func (s Setup) MarshalBinary() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return s.marshal(), nil
}

func (s *Setup) marshal() []byte {
	var flags byte
	for i, on := range []bool{s.AcceptUnsigned, s.ManualType, s.NoVouch, s.Found, s.Seed != nil, s.TopicKey != nil} {
		if on {
			flags |= 1 << i
		}
	}
	b := append([]byte{setupVersion, byte(s.Mode), flags}, s.Seed...)
	b = append(b, s.TopicKey...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(s.Name))), s.Name...)
	for _, keys := range [][]ed25519.PublicKey{s.Trust, s.Pins} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(keys)))
		for _, k := range keys {
			b = append(b, k...)
		}
	}
	return b
}

// UnmarshalBinary reads what MarshalBinary wrote, and nothing else. The error is
// [ErrMalformed].
func (s *Setup) UnmarshalBinary(b []byte) error {
	c := cursor{rest: b}
	if v := c.byte(); v != setupVersion || c.bad {
		return badFormat("a setup of version %d, known is %d", v, setupVersion)
	}
	n := Setup{Mode: Mode(c.byte())}
	flags := c.byte()
	if flags&^setupAll != 0 {
		return badFormat("a setup with unknown flags")
	}
	n.AcceptUnsigned, n.ManualType = flags&setupUnsigned != 0, flags&setupManual != 0
	n.NoVouch, n.Found = flags&setupNoVouch != 0, flags&setupFound != 0
	if flags&setupSeed != 0 {
		n.Seed = slices.Clone(c.take(SeedSize))
	}
	if flags&setupKey != 0 {
		n.TopicKey = slices.Clone(c.take(KeySize))
	}
	n.Name = string(c.take(int(c.uint16())))
	n.Trust, n.Pins = c.keys(MaxMembers-1), c.keys(MaxMembers-1)
	if !c.done() {
		return badFormat("a setup that is cut short or has something behind it")
	}
	if err := n.check(); err != nil {
		return err
	}
	*s = n
	return nil
}

// Create begins a member in an empty b. With a topic key, or Found, it can seal at
// once; without, it has to [Member.Introduce] itself. The result has no post: Load
// it to give it one. The errors are [ErrExists] and [ErrMalformed].
func Create(b parley.Bucket, s Setup) (*Member, error) {
	if b.Get(selfRow) != nil {
		return nil, ErrExists
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	seed, key := s.Seed, s.TopicKey
	if seed == nil {
		seed = GenerateSeed()
	}
	if s.Found {
		key = GenerateTopicKey()
	}
	self := identity{private: ed25519.NewKeyFromSeed(seed), setup: s, topic: topicHash(s.Name)}
	self.id = IDOf(self.public())
	self.setup.Seed, self.setup.TopicKey, self.setup.Trust = nil, nil, nil
	st := record{mode: s.Mode}
	if _, err := rand.Read(st.guard[:]); err != nil {
		return nil, err
	}
	m := &Member{bucket: b, random: rand.Reader, self: self}
	d := &draft{Member: m, st: st, puts: map[string][]byte{selfRow: self.marshal()}}
	for _, k := range s.Trust {
		if _, err := d.admit(k, self.id, memberTrusted); err != nil {
			return nil, err
		}
	}
	if key != nil {
		if err := d.begin([KeySize]byte(key)); err != nil {
			return nil, err
		}
	}
	d.write()
	return m, nil
}

// begin takes the key of epoch 0, which all trusted members are taken to have.
func (d *draft) begin(key [KeySize]byte) error {
	d.st.set(flagKey, true)
	ids, err := d.memberIDs()
	if err != nil {
		return err
	}
	if d.st.mode == ForwardSecret { // told with the first message
		if err := d.newSealing(); err != nil {
			return err
		}
	}
	return d.enterEpoch(0, epochKey{key: key, members: ids})
}
