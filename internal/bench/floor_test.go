package bench

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestBareFloorDoesItsWork(t *testing.T) {
	dir := t.TempDir()
	f, err := newFloor(dir, workFor(1000, 2, 2.5))
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.bare(4, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Messages == 0 || r.Elapsed < 100*time.Millisecond {
		t.Errorf("got %+v", r)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("the floor left %v behind", left)
	}
}

func TestEchoAnswersWithTheBlocksAskedFor(t *testing.T) {
	for _, out := range []float64{2, 2.5, 3} {
		f, err := newFloor(t.TempDir(), workFor(1000, 2, out))
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- f.listenEcho(l) }()
		r, err := loadEcho(t.Context(), l.Addr().String(), 3, 100*time.Millisecond)
		if err != nil || r.Messages == 0 {
			t.Errorf("%v blocks: %+v, %v", out, r, err)
		}
		l.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The floor must refuse what a relay must refuse, or it measures nothing.
func TestFloorVerifiesForReal(t *testing.T) {
	f, err := newFloor(t.TempDir(), workFor(1000, 2, 2))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.send[0] ^= 1
	if _, err := f.bare(1, time.Millisecond); err == nil {
		t.Error("a changed text verifies")
	}
	f.send[0] ^= 1
	l, err := f.lane(make([]byte, helloSize))
	if err != nil {
		t.Fatal(err)
	}
	l.sealedInput = l.in.seal(make([]byte, blockSize-tagSize, blockSize))
	if err := l.message(); err != nil {
		t.Fatal(err)
	}
	l.sealedInput[7] ^= 1
	if err := l.message(); err == nil {
		t.Error("a changed block opens")
	}
}

func TestOwed(t *testing.T) {
	for _, c := range []struct {
		each float64
		n    int
		want int
	}{{2, 10, 20}, {2.5, 10, 25}, {0.1, 10, 1}, {0, 10, 0}, {2.33, 100, 233}} {
		var o owed
		got := 0
		for range c.n {
			got += o.take(c.each)
		}
		if got != c.want {
			t.Errorf("%d times %v gives %d, want %d", c.n, c.each, got, c.want)
		}
	}
}
