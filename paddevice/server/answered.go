package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"parley"
	"parley/internal/keyfile"
)

const (
	answeredName = "answered"
	maxAnswered  = 100_000
)

// answered knows which ids have been packaged, and which packets opened, so that a client
// that repeats one, after a reply that was lost or a crash, does not have the person
// asked again. That the same id cannot carry another message meanwhile is the pad's
// business. Losing a line costs a question; what is done is taken out, on disk, before
// the pad forgets the id. Several processes share the file.
//
// Its lines are "+ QUESTION PACKET" and "- PACKET", in hex.
type answered struct {
	dir string

	mu   sync.Mutex
	file *os.File
	size int64
	by   map[string]string // question → packet
}

// questionKey names a question. what is the id of a package, or the digest of a packet.
func questionKey(op string, self, peer parley.Name, what []byte) string {
	h := sha256.New()
	for _, part := range []string{op, string(self), string(peer), string(what)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// openAnswered reads the file, and writes it anew without what is done.
func openAnswered(ctx context.Context, dir string) (*answered, error) {
	a := &answered{dir: dir}
	return a, a.with(ctx, func() error {
		var out []byte
		for key, packet := range a.by {
			out = fmt.Appendf(out, "+ %s %s\n", key, packet)
		}
		if int64(len(out)) == a.size {
			return nil
		}
		if err := keyfile.Replace(filepath.Join(dir, answeredName), out); err != nil {
			return err
		}
		return a.refresh()
	})
}

// with does something while no other process changes the file, and what others have
// written is known.
func (a *answered) with(ctx context.Context, do func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	unlock, err := lock(ctx, a.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.refresh(); err != nil {
		return err
	}
	return do()
}

func (a *answered) refresh() error {
	path := filepath.Join(a.dir, answeredName)
	now, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := now.Stat()
	if err != nil {
		now.Close()
		return err
	}
	same := false
	if a.file != nil {
		if old, err := a.file.Stat(); err == nil {
			same = os.SameFile(old, st)
		}
		a.file.Close()
	}
	a.file = now
	if !same || st.Size() < a.size {
		a.size, a.by = 0, map[string]string{}
	}
	b, err := io.ReadAll(io.NewSectionReader(now, a.size, st.Size()-a.size))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(b) {
		a.take(string(line))
	}
	a.size += int64(len(b))
	return nil
}

func (a *answered) take(line string) {
	var key, packet string
	if n, _ := fmt.Sscanf(line, "+ %32s %64s\n", &key, &packet); n == 2 {
		a.by[key] = packet
	} else if n, _ := fmt.Sscanf(line, "- %64s\n", &packet); n == 1 {
		a.drop(packet)
	}
}

func (a *answered) drop(packet string) (found bool) {
	for key, p := range a.by {
		if p == packet {
			delete(a.by, key)
			found = true
		}
	}
	return found
}

// has reports whether a question was answered. When that cannot be known it was not.
func (a *answered) has(ctx context.Context, key string) (ok bool) {
	err := a.with(ctx, func() error {
		_, ok = a.by[key]
		return nil
	})
	return ok && err == nil
}

func (a *answered) add(ctx context.Context, key string, packet [32]byte) error {
	return a.with(ctx, func() error {
		if _, ok := a.by[key]; ok || len(a.by) >= maxAnswered {
			return nil
		}
		return a.write(fmt.Sprintf("+ %s %x\n", key, packet))
	})
}

// done forgets a packet. It must come before the pad does.
func (a *answered) done(ctx context.Context, packet [32]byte) error {
	return a.with(ctx, func() error {
		text := hex.EncodeToString(packet[:])
		for _, p := range a.by {
			if p == text {
				if err := a.write("- " + text + "\n"); err != nil {
					return err
				}
				return a.file.Sync()
			}
		}
		return nil
	})
}

func (a *answered) write(line string) error {
	if _, err := io.WriteString(a.file, line); err != nil {
		return err
	}
	a.take(line)
	a.size += int64(len(line))
	return nil
}

func (a *answered) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}
