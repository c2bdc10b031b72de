package otp

// The checksum of a version 1 metadata file is what a 64-bit Python 2 gives for the
// hash of a frozen set of its members. It finds accidents, and protects against nobody.

// hashString is Python 2's hash of a string, by its code points.
func hashString(s string) uint64 {
	if s == "" {
		return 0
	}
	var h, n uint64
	for _, c := range s {
		if n == 0 {
			h = uint64(c) << 7
		}
		h = h*1000003 ^ uint64(c)
		n++
	}
	return notMinusOne(h ^ n)
}

func hashInt(i int64) uint64 { return notMinusOne(uint64(i)) }

// notMinusOne: Python keeps -1 for errors.
func notMinusOne(h uint64) uint64 {
	if h == ^uint64(0) {
		return ^uint64(1)
	}
	return h
}

// hashPair is the hash of a tuple of two.
func hashPair(a, b uint64) uint64 {
	x, multiplier := uint64(0x345678), uint64(1000003)
	for i, h := range [2]uint64{a, b} {
		x = (x ^ h) * multiplier
		multiplier += 82520 + 2*uint64(1-i)
	}
	return notMinusOne(x + 97531)
}

// hashSet is the hash of a frozen set of elements with these hashes.
func hashSet(elements []uint64) int64 {
	h := uint64(1927868237) * uint64(len(elements)+1)
	for _, e := range elements {
		h ^= (e ^ e<<16 ^ 89869747) * 3644798167
	}
	h = h*69069 + 907133923
	if h == ^uint64(0) {
		h = 590923713
	}
	return int64(h)
}
