package generate

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"parley/secure/otp"
)

func reading(r io.Reader) *opened { return &opened{Source: otp.Source{Name: "test"}, r: r} }

// TestWriterFails: the error of a disk ends the work at once, with other writers beside.
func TestWriterFails(t *testing.T) {
	for _, after := range []int{0, 1, 7} {
		n := 0
		err := mix(t.Context(), []*opened{reading(stretched{})}, 1<<40, func(p []byte) error {
			if n++; n > after {
				return syscall.ENOSPC
			}
			return nil
		}, func([]byte) error { return nil })
		if !errors.Is(err, syscall.ENOSPC) || n != after+1 {
			t.Errorf("after %d: %v, %d writes", after, err, n)
		}
	}
}

// TestSilentSource: a device that gives nothing does not keep an interrupted run.
func TestSilentSource(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- mix(ctx, []*opened{reading(stretched{}), reading(r)}, 1<<40, func([]byte) error { return nil })
	}()
	w.Write(sound(1, 100)) // it is being read
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestSourceFails(t *testing.T) {
	broken := errors.New("pulled out")
	r := io.MultiReader(io.LimitReader(stretched{}, 3*chunk+5), failing{broken})
	wrote := 0
	err := mix(t.Context(), []*opened{reading(stretched{}), reading(r)}, 1<<40, func(p []byte) error { wrote += len(p); return nil })
	if !errors.Is(err, ErrSource) || !errors.Is(err, broken) || wrote != 3*chunk {
		t.Errorf("%v after %d bytes", err, wrote)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// TestStartUp: nothing is mixed before every source has passed its first bytes.
func TestStartUp(t *testing.T) {
	bad := sound(1, StartUp)
	copy(bad[StartUp-RepetitionCutoff:], make([]byte, RepetitionCutoff))
	err := mix(t.Context(), []*opened{reading(stretched{}), reading(&once{b: bad})}, StartUp, func([]byte) error {
		t.Error("something was written")
		return nil
	})
	if !errors.Is(err, ErrUnhealthy) {
		t.Error(err)
	}
}

type once struct{ b []byte }

func (o *once) Read(p []byte) (int, error) {
	n := copy(p, o.b)
	if o.b = o.b[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestConstantMemory: a pad of any size takes the memory of a small one.
func TestConstantMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes half a gigabyte")
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most, n := m.HeapAlloc, uint64(0), 0
	err := mix(t.Context(), []*opened{reading(stretched{}), reading(stretched{})}, 512<<20, func([]byte) error {
		if n++; n%64 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
		return nil
	})
	if err != nil || most > before+2*ahead*chunk+2<<20 {
		t.Errorf("%d bytes before, %d at most (%v)", before, most, err)
	}
}

// TestSlowDevice: who waits for one sees that it goes on.
func TestSlowDevice(t *testing.T) {
	slow, n := reading(stretched{}), 0
	slow.Kind = device
	err := mix(t.Context(), []*opened{reading(stretched{}), slow}, 6*small+5, func([]byte) error { n++; return nil })
	if err != nil || n != 7 {
		t.Errorf("%d chunks, %v", n, err)
	}
}

// TestStretched: no key makes more than it may, and what comes is not zero nor the same.
func TestStretched(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[[16]byte]bool)
	for _, n := range []int{1, 15, 16, 17, stretch - 1, stretch, stretch + 1, 5 * stretch} {
		p := make([]byte, n)
		if got, err := (stretched{}).Read(p); got != n || err != nil {
			t.Fatal(got, err)
		}
		for ; len(p) >= 16; p = p[16:] {
			mu.Lock()
			if k := [16]byte(p); seen[k] || k == [16]byte{} {
				t.Fatal("the same again")
			} else {
				seen[k] = true
			}
			mu.Unlock()
		}
	}
}

// TestWithoutLinks: the way of file systems that have none.
func TestWithoutLinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	d, err := newDraft(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.append([]byte("whole"), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.take(); err != nil {
		t.Fatal(err)
	}
	d.path = ""
	d.close()
	if b, err := os.ReadFile(path); string(b) != "whole" || err != nil || len(names(t, dir)) != 1 {
		t.Errorf("%q, %v, %v", b, err, names(t, dir))
	}
	other := filepath.Join(dir, "y")
	if d, err = newDraft(other); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.take(); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	d.discard()
	if b, _ := os.ReadFile(other); string(b) != "mine" || len(names(t, dir)) != 2 {
		t.Errorf("%q, %v", b, names(t, dir))
	}
}
