package ratchet

import (
	"encoding/binary"
	"math"
	"slices"

	"parley"
)

// A chain is the memory of one chain of the peer's. The newest is open; the
// others are closed: their length is known and their chain key gone.
type chain struct {
	turn   uint64
	header [32]byte // key of its headers
	key    [32]byte // chain key of message next; zero when closed
	id     [16]byte
	next   uint32 // all counters below were opened, or have a key kept, or dropped
	floor  uint32 // below it, keys of missing messages were dropped
	end    uint32 // counters are below it
}

const chainSize = 32 + 32 + 16 + 4 + 4 + 4

// openEnd is the end of a chain whose length is not known yet.
const openEnd = math.MaxUint32

func turnKey(letter string, turn uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(letter), turn))
}

func messageKey(letter string, turn uint64, n uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte(turnKey(letter, turn)), n))
}

func (c *chain) marshal() []byte {
	p := make([]byte, 0, chainSize)
	p = append(append(append(p, c.header[:]...), c.key[:]...), c.id[:]...)
	for _, n := range []uint32{c.next, c.floor, c.end} {
		p = binary.BigEndian.AppendUint32(p, n)
	}
	return p
}

// parseChain reads an entry of the Bucket.
func parseChain(key string, p []byte) (*chain, error) {
	if len(key) != len(chainKey)+8 || len(p) != chainSize {
		return nil, errState
	}
	return &chain{
		turn:   binary.BigEndian.Uint64([]byte(key[len(chainKey):])),
		header: [32]byte(p), key: [32]byte(p[32:]), id: [16]byte(p[64:]),
		next: binary.BigEndian.Uint32(p[80:]), floor: binary.BigEndian.Uint32(p[84:]), end: binary.BigEndian.Uint32(p[88:]),
	}, nil
}

// newest reads the peer's newest chain, nil if there is none yet.
func (s *agreed) newest(b parley.Bucket) (*chain, error) {
	back := uint64(1)
	if !s.ourTurn() {
		back = 2
	}
	if s.steps < back {
		return nil, nil
	}
	k := turnKey(chainKey, s.steps-back)
	return parseChain(k, b.Get(k))
}

// chainsBefore reads the chains before a turn, the newest first.
func chainsBefore(b parley.Bucket, turn uint64) ([]*chain, error) {
	var all []*chain
	for k, v := range b.Scan(chainKey) {
		c, err := parseChain(k, v)
		if err != nil {
			return nil, err
		}
		if c.turn < turn {
			all = append(all, c)
		}
	}
	slices.Reverse(all)
	return all, nil
}

// advance steps the chain up to counter n, exclusive, and keeps the keys that it
// passes: of more than MaxSkip only the latest.
func (c *chain) advance(n uint32, b *batch) {
	gap := n - c.next
	for ; c.next < n; c.next++ {
		var key [32]byte
		key, c.key = chainStep(c.key)
		if n-c.next <= MaxSkip {
			b.keep(messageKey(skipKey, c.turn, c.next), key)
		}
	}
	if gap > MaxSkip {
		c.floor = n - MaxSkip
		b.dropped += uint64(gap - MaxSkip)
	}
}

// A batch is what a call is going to write: nothing, if it fails.
type batch struct {
	puts    []entry
	deletes []string
	skipped []entry // keys of missing messages
	dropped uint64
}

type entry struct {
	key   string
	value []byte
}

func (b *batch) put(key string, value []byte) { b.puts = append(b.puts, entry{key, value}) }
func (b *batch) delete(key string)            { b.deletes = append(b.deletes, key) }

func (b *batch) keep(key string, message [32]byte) {
	b.skipped = append(b.skipped, entry{key, message[:]})
}

func (b *batch) apply(state parley.Bucket) {
	for _, k := range b.deletes {
		state.Delete(k)
	}
	for _, e := range b.puts {
		state.Put(e.key, e.value)
	}
	for _, e := range b.skipped {
		state.Put(e.key, e.value)
	}
}

// first returns up to n keys with the prefix: the oldest.
func first(state parley.Bucket, prefix string, n int) []string {
	var keys []string
	for k := range state.Scan(prefix) {
		if len(keys) == n {
			break
		}
		keys = append(keys, k)
	}
	return keys
}

// bound drops the oldest where there is too much, after a batch was applied.
func (s *agreed) bound(state parley.Bucket) error {
	for s.chains > MaxChains {
		oldest := first(state, chainKey, 1)
		if len(oldest) == 0 {
			return errState
		}
		turn := oldest[0][len(chainKey):]
		missing := first(state, skipKey+turn, MaxSkipped+MaxSkip)
		opened := first(state, digestKey+turn, MaxDigests+digestSlack+1)
		for _, k := range append(append(oldest, missing...), opened...) {
			state.Delete(k)
		}
		s.chains--
		s.skipped -= uint32(len(missing))
		s.dropped += uint64(len(missing))
		s.digests -= uint32(len(opened))
	}
	if s.digests > MaxDigests+digestSlack {
		for _, k := range first(state, digestKey, int(s.digests-MaxDigests)) {
			state.Delete(k)
			s.digests--
		}
	}
	if s.skipped <= MaxSkipped {
		return nil
	}
	floors := map[string]uint32{}
	for _, k := range first(state, skipKey, int(s.skipped-MaxSkipped)) {
		state.Delete(k)
		s.skipped--
		s.dropped++
		n := len(k) - 4
		floors[chainKey+k[len(skipKey):n]] = binary.BigEndian.Uint32([]byte(k[n:])) + 1
	}
	for k, floor := range floors {
		c, err := parseChain(k, state.Get(k))
		if err != nil {
			return err
		}
		c.floor = max(c.floor, floor)
		state.Put(k, c.marshal())
	}
	return nil
}
