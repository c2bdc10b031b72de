package nes

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"parley"
)

// forgotten is what is to go of one sender: the keys of entries, and the sender's row as
// it is without them.
type forgotten struct {
	name   string
	sender guardSender
	rows   []string
}

// choose picks n entries to forget, of those senders that have the most. It writes
// nothing: a Bucket is not written during a Scan, nor by a call that fails.
func (g Guard) choose(b parley.Bucket, n uint32) ([]forgotten, error) {
	senders := map[string]guardSender{}
	for row, value := range b.Scan(sendersPrefix) {
		s, err := parseSender(value)
		if err != nil {
			return nil, err
		}
		senders[strings.TrimPrefix(row, sendersPrefix)] = s
	}
	var out []forgotten
	for _, name := range slices.Sorted(maps.Keys(senders)) {
		s := senders[name]
		out = append(out, forgotten{name: name, sender: s})
	}
	slices.SortStableFunc(out, func(a, b forgotten) int { return cmp.Compare(b.sender.entries, a.sender.entries) })
	shares := level(out, n)
	for i, take := range shares {
		f := &out[i]
		f.rows = oldest(b, f.name, int(take))
		if len(f.rows) != int(take) {
			return nil, errGuard
		}
		at, err := timeOf(f.name, f.rows[take-1])
		if err != nil {
			return nil, err
		}
		f.sender.entries -= take
		if !f.sender.forgot || at > f.sender.floor {
			f.sender.forgot, f.sender.floor = true, at
		}
	}
	return out[:len(shares)], nil
}

// level says how many entries go of each of the first senders, which come with the most
// entries first, so that n go in all and those with the most lose down to one level.
func level(senders []forgotten, n uint32) []uint32 {
	have := func(i int) uint32 {
		if i < len(senders) {
			return senders[i].sender.entries
		}
		return 0
	}
	// The first k senders are cut down; gone is how many go if all come to the size of
	// the next one.
	k, gone := 1, uint64(0)
	for ; k <= len(senders); k++ {
		step := uint64(k) * uint64(have(k-1)-have(k))
		if gone+step >= uint64(n) {
			break
		}
		gone += step
	}
	k = min(k, len(senders))
	rest := uint64(n) - gone
	var out []uint32
	for i := range k {
		take := uint64(have(i)-have(k-1)) + rest/uint64(k)
		if uint64(i) < rest%uint64(k) {
			take++
		}
		if take = min(take, uint64(have(i))); take > 0 {
			out = append(out, uint32(take))
		} else {
			break
		}
	}
	return out
}

// oldest returns the keys of a sender's n oldest entries; all for -1.
func oldest(b parley.Bucket, name string, n int) []string {
	var out []string
	if n == 0 {
		return nil
	}
	for row := range b.Scan(seenPrefix(name)) {
		out = append(out, row)
		if len(out) == n {
			break
		}
	}
	return out
}
