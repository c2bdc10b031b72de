package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"parley/internal/filelock"
	"parley/internal/keyfile"
	"parley/secure/stringphone"
)

// A guardFile is a replay guard that many runs share, also at the same time. The
// file is what [stringphone.Guard] reads; each box that was shown appends its
// digest, and a file that has grown to twice the guard is written anew in one
// step. A second file beside it, with .lock behind its name, is what they lock.
type guardFile struct {
	path  string
	guard *stringphone.Guard
	lock  *os.File
	have  fs.FileInfo // what the guard was read from
	size  int64
}

const (
	guardHead   = 5
	guardDigest = 16
	maxGuard    = 8 << 20 // more than three times a guard of 65,536 boxes
)

func openGuard(ctx context.Context, path string) (*guardFile, error) {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, usage("--guard: %w", err)
	}
	g := &guardFile{path: path, guard: stringphone.NewGuard(0), lock: lock}
	// Told now, not at the first message of a stream.
	if err := g.begin(ctx); err != nil {
		lock.Close()
		return nil, err
	}
	g.end()
	return g, nil
}

func (g *guardFile) close() {
	if g != nil {
		g.lock.Close()
	}
}

// begin waits until no other run uses the guard, and takes in what those have
// remembered.
func (g *guardFile) begin(ctx context.Context) error {
	err := filelock.Wait(ctx, g.lock)
	switch {
	case errors.Is(err, filelock.ErrLocked):
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("--guard: %s cannot be locked: %w", g.lock.Name(), err)
	}
	if err = g.refresh(); err != nil {
		g.end()
	}
	return err
}

func (g *guardFile) end() { filelock.Unlock(g.lock) }

func (g *guardFile) refresh() error {
	st, err := os.Stat(g.path)
	if err == nil && !st.Mode().IsRegular() {
		return usage("--guard: %s is no replay guard", g.path)
	}
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0 {
		return g.rewrite()
	}
	if err != nil {
		return fmt.Errorf("--guard: %w", err)
	}
	if g.have != nil && os.SameFile(g.have, st) && st.Size() == g.size {
		return nil
	}
	if st.Size() > maxGuard {
		return usage("--guard: %s is no replay guard", g.path)
	}
	b, err := os.ReadFile(g.path)
	if err != nil {
		return fmt.Errorf("--guard: %w", err)
	}
	torn := 0
	if len(b) > guardHead {
		torn = (len(b) - guardHead) % guardDigest // a digest that a crash cut
	}
	b = b[:len(b)-torn]
	if err := g.guard.UnmarshalBinary(b); err != nil {
		return usage("--guard: %s: %w", g.path, err)
	}
	if torn > 0 {
		return g.rewrite()
	}
	g.have, g.size = st, int64(len(b))
	return nil
}

// save remembers on disk the box that was opened last.
func (g *guardFile) save() error {
	digest, ok := g.guard.Newest()
	if !ok {
		return nil
	}
	if g.size >= guardHead+2*guardDigest*int64(g.guard.Size()) {
		return g.rewrite()
	}
	err := appendSynced(g.path, digest[:])
	if err != nil {
		return fmt.Errorf("--guard: the text was shown and could not be remembered, so that it can be shown again: %w", err)
	}
	g.size += guardDigest
	return nil
}

// rewrite replaces the file by what the guard remembers.
func (g *guardFile) rewrite() error {
	b, err := g.guard.MarshalBinary()
	if err != nil {
		return err
	}
	if err := keyfile.Replace(g.path, b); err != nil {
		return fmt.Errorf("--guard: %w", err)
	}
	g.size = int64(len(b))
	g.have, err = os.Stat(g.path)
	return err
}

func appendSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
