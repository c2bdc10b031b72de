package bench

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestCommitLogWritesEveryRecord(t *testing.T) {
	dir := t.TempDir()
	l, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	const writers, each, size = 16, 50, 100
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				if err := l.Append(bytes.Repeat([]byte{byte(w + 1)}, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != logSize {
		t.Errorf("the file has %d bytes, want %d", len(b), logSize)
	}
	for w := range writers {
		if n := bytes.Count(b, []byte{byte(w + 1)}); n != each*size {
			t.Errorf("writer %d: %d bytes on disk, want %d", w, n, each*size)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]byte{1}); !errors.Is(err, errLogClosed) {
		t.Errorf("append after close: %v", err)
	}
}

func TestCommitLogTellsOfTrouble(t *testing.T) {
	l, err := openLog(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l.f.Close()
	if err := l.Append([]byte("lost")); err == nil {
		t.Error("a record that could not be written was called durable")
	}
	if _, err := openLog(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a log in a folder that is not there")
	}
}
