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
	"slices"
	"sync"

	"parley"
	"parley/internal/keyfile"
)

const (
	answeredName = "answered"
	maxAnswered  = 100_000
	slack        = 1 << 20 // bytes of lines that say nothing any more, before they are left out
)

// answered knows for which client a packet was allowed that the pad still keeps: a client
// that repeats its request, after a reply that was lost or a crash, does not have the
// person asked again, another client does, and no client has another's packet burned.
// Whether the pad keeps the packet is the pad's to say. Losing a line costs a question.
// Several processes share the file.
//
// Its lines are "+ PACKET CLIENT" and "- PACKET CLIENT", in hex.
type answered struct {
	dir string

	mu    sync.Mutex
	file  *os.File
	size  int64
	by    map[string][]string // packet → clients
	lines int                 // that are in force
}

// packetKey names a packet of a pad.
func packetKey(self, peer parley.Name, digest [32]byte) string {
	h := sha256.New()
	for _, part := range []string{string(self), string(peer), string(digest[:])} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// openAnswered reads the file, and writes it anew without what is done.
func openAnswered(ctx context.Context, dir string) (*answered, error) {
	a := &answered{dir: dir}
	return a, a.with(ctx, a.tidy)
}

// tidy writes the file anew if most of it is done.
func (a *answered) tidy() error {
	var out []byte
	for key, owners := range a.by {
		for _, owner := range owners {
			out = fmt.Appendf(out, "+ %s %s\n", key, owner)
		}
	}
	if int64(len(out)) == a.size {
		return nil
	}
	if err := keyfile.Replace(filepath.Join(a.dir, answeredName), out); err != nil {
		return err
	}
	return a.refresh()
}

// with does something while no other process changes the file, and what others have
// written is known.
func (a *answered) with(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
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
	if err == nil {
		err = ours(path, st, "600")
	}
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
		a.size, a.lines, a.by = 0, 0, map[string][]string{}
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
	var sign, key, owner string
	if n, _ := fmt.Sscanf(line, "%1s %32s %32s\n", &sign, &key, &owner); n != 3 || len(line) != len("+ \n")+2*32+1 {
		return // torn
	}
	owners := slices.DeleteFunc(a.by[key], func(o string) bool { return o == owner })
	a.lines -= len(a.by[key]) - len(owners)
	if sign == "+" {
		owners = append(owners, owner)
		a.lines++
	}
	if a.by[key] = owners; len(owners) == 0 {
		delete(a.by, key)
	}
}

// owners returns for whom a packet was allowed.
func (a *answered) owners(ctx context.Context, key string) (all []string, err error) {
	err = a.with(ctx, func() error {
		all = slices.Clone(a.by[key])
		return nil
	})
	return all, err
}

// add makes a packet a client's, too.
func (a *answered) add(ctx context.Context, key, owner string) error {
	return a.with(ctx, func() error {
		if slices.Contains(a.by[key], owner) || a.lines >= maxAnswered {
			return nil
		}
		return a.write("+", key, owner)
	})
}

// drop takes a packet from a client, on disk.
func (a *answered) drop(ctx context.Context, key string, owners ...string) error {
	if len(owners) == 0 {
		return nil
	}
	return a.with(ctx, func() error {
		for _, owner := range owners {
			if slices.Contains(a.by[key], owner) {
				if err := a.write("-", key, owner); err != nil {
					return err
				}
			}
		}
		if line := int64(len("+ \n") + 2*32 + 1); a.size > slack+4*line*int64(a.lines) {
			return a.tidy()
		}
		return a.file.Sync()
	})
}

func (a *answered) write(sign, key, owner string) error {
	line := fmt.Sprintf("%s %s %s\n", sign, key, owner)
	if _, err := io.WriteString(a.file, line); err != nil {
		a.file.Truncate(a.size) // half a line would spoil the next one
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
