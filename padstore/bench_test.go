package padstore

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"parley/secure/otp"
)

// benchWorld is a world whose pads last for the whole benchmark.
func benchWorld(b *testing.B, v otp.Version, n, m int) (alice, bob *Pad, w *world) {
	need := need(v, m)*int64(n) + 4096
	w = newWorld(b, v, 2*need)
	return w.open(0), w.open(1), w
}

func sizes(b *testing.B, do func(b *testing.B, v otp.Version, m int)) {
	for _, v := range bothVersions {
		for _, m := range []int{100, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("v%d/%d", v, m), func(b *testing.B) { do(b, v, m) })
		}
	}
}

// maxBench bounds the pad that a benchmark makes.
const maxBench = 256 << 20

func bounded(v otp.Version, n, m int) int {
	return max(1, min(n, int(maxBench/need(v, m))))
}

func BenchmarkPackageNoSync(b *testing.B) {
	sizes(b, func(b *testing.B, v otp.Version, m int) {
		msg := randomBytes(1, int64(m))
		b.SetBytes(int64(m))
		for left := b.N; left > 0; {
			n := bounded(v, left, m)
			left -= n
			b.StopTimer()
			alice, _, w := benchWorld(b, v, n, m)
			b.StartTimer()
			for i := range n {
				if _, err := alice.Package(ctx, id(i), "bob", msg); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			w.drop()
		}
	})
}

func BenchmarkUnpackageNoSync(b *testing.B) {
	sizes(b, func(b *testing.B, v otp.Version, m int) {
		msg := randomBytes(1, int64(m))
		b.SetBytes(int64(m))
		for left := b.N; left > 0; {
			n := bounded(v, left, m)
			left -= n
			b.StopTimer()
			alice, bob, w := benchWorld(b, v, n, m)
			packets := make([][]byte, n)
			for i := range packets {
				packets[i] = pack(b, alice, i, string(msg))
			}
			b.StartTimer()
			for _, packet := range packets {
				if _, err := bob.Unpackage(ctx, "alice", packet); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			w.drop()
		}
	})
}

// drop closes the pads and deletes their files, so that a long benchmark fills no disk.
func (w *world) drop() {
	os.RemoveAll(filepath.Dir(w.dirs[0]))
}

// BenchmarkPackageSync is with every fsync, one caller and 64 at once.
func BenchmarkPackageSync(b *testing.B) {
	for _, v := range bothVersions {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("v%d/callers=%d", v, callers), func(b *testing.B) {
				const m = 100
				_, _, w := benchWorld(b, v, b.N, m)
				alice, err := Open(w.paths[0], Options{Marks: w.marks[0]})
				check(b, err)
				defer alice.Close()
				msg := make([]byte, m)
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				for range callers {
					wg.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							if _, err := alice.Package(ctx, id(int(i)), "bob", msg); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// BenchmarkUnpackageHistory opens messages after 1 and after 1,000,000 others.
func BenchmarkUnpackageHistory(b *testing.B) {
	for _, v := range bothVersions {
		for _, n := range []int64{1, 1_000_000} {
			b.Run(fmt.Sprintf("v%d/messages=%d", v, n), func(b *testing.B) {
				w := newWorld(b, v, 1<<28)
				bob, alice, _ := historyIn(b, w, n)
				packets := make([][]byte, b.N)
				for i := range packets {
					packets[i] = pack(b, alice, i, "hello")
				}
				b.ResetTimer()
				for _, packet := range packets {
					if _, err := bob.Unpackage(ctx, "alice", packet); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				w.drop()
			})
		}
	}
}
