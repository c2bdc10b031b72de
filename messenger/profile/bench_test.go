package profile

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// BenchmarkCommit is one commit of a line's state of n rows, one of which
// changes, and one row more.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, _ := newProfile(b)
			with(b, p, 1, func(k *Bucket) {
				for i := range n {
					k.Put(fmt.Sprintf("skipped/%05d", i), make([]byte, 64))
				}
			})
			for i := 0; b.Loop(); i++ {
				with(b, p, 1, func(k *Bucket) { k.Put("n", binary.BigEndian.AppendUint64(nil, uint64(i))) })
			}
		})
	}
}
