package otp

import "testing"

// The tag of version 2 is a polynomial in r, the message's blocks being its coefficients,
// plus s. In a field so small that every key can be tried, what is claimed of it can be
// counted: one message of d blocks and its tag leave a forger a chance of at most d in p,
// whatever it computes; two messages under one key give the key away. That is why every
// message gets a fresh r and s from the pad.

const toyPrime = 13

// toyTag is s + m[0]·r + m[1]·r² + … with a 1 behind the last block, as Poly1305's blocks
// have one.
func toyTag(r, s int, m []int) int {
	power, sum := r, s
	for i := len(m) - 1; i >= 0; i-- { // the highest power is the first block's
		sum += m[i] * power
		power = power * r
	}
	return (sum + power) % toyPrime
}

// toyMessages are all messages of up to two blocks.
func toyMessages() (all [][]int) {
	for a := range toyPrime {
		all = append(all, []int{a})
		for b := range toyPrime {
			all = append(all, []int{a, b})
		}
	}
	return all
}

func TestBound(t *testing.T) {
	all := toyMessages()
	worst := 0
	for _, seen := range all {
		for _, forged := range all {
			if len(seen) == len(forged) && seen[0] == forged[0] && seen[len(seen)-1] == forged[len(forged)-1] {
				continue
			}
			degree := max(len(seen), len(forged)) + 1
			// For each tag that the seen message may have, how many of the keys that give
			// it accept each guess for the other message.
			var keys [toyPrime]int
			var accept [toyPrime][toyPrime]int
			for r := range toyPrime {
				for s := range toyPrime {
					tag := toyTag(r, s, seen)
					keys[tag]++
					accept[tag][toyTag(r, s, forged)]++
				}
			}
			for tag := range toyPrime {
				if keys[tag] != toyPrime {
					t.Fatalf("the tag of %v tells of the key: %d keys give %d", seen, keys[tag], tag)
				}
				for guess := range toyPrime {
					worst = max(worst, accept[tag][guess])
					if accept[tag][guess] > degree {
						t.Fatalf("of %d keys, %d take %v with tag %d for %v with tag %d", toyPrime, accept[tag][guess], forged, guess, seen, tag)
					}
				}
			}
		}
	}
	if worst < 2 {
		t.Errorf("the bound is not even approached: at most %d of %d keys", worst, toyPrime)
	}
	t.Logf("of the %d keys that fit a message, at most %d take a forged one", toyPrime, worst)
}

// TestKeyReuseBreaksIt: two messages with their tags under one key leave so few keys that
// a forger succeeds far more often than the bound, and mostly for certain.
func TestKeyReuseBreaksIt(t *testing.T) {
	certain, pairs := 0, 0
	for r := range toyPrime {
		for s := range toyPrime {
			one, two, forged := []int{3}, []int{5}, []int{11}
			var left, take int
			for r2 := range toyPrime {
				for s2 := range toyPrime {
					if toyTag(r2, s2, one) == toyTag(r, s, one) && toyTag(r2, s2, two) == toyTag(r, s, two) {
						left++
						if toyTag(r2, s2, forged) == toyTag(r, s, forged) {
							take++
						}
					}
				}
			}
			pairs++
			if left == take && left == 1 {
				certain++
			}
		}
	}
	if certain != pairs {
		t.Errorf("of %d keys, two messages of the same length give away %d", pairs, certain)
	}
}
