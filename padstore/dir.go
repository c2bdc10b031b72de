package padstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"parley"
	"parley/secure/otp"
)

// A Dir is a folder of pads. Pads that are put into it later are found. It is safe for
// concurrent use.
type Dir struct {
	path string
	o    Options
	mu   sync.Mutex
	pads map[string]*Pad // by the name of the file that was opened
	told map[string]bool // files that cannot be opened
	shut bool
}

// OpenDir opens a folder. Pads are opened when they are asked for.
func OpenDir(dir string, o Options) (*Dir, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s: %w: it is not a folder", dir, parley.ErrRefused)
	}
	return &Dir{path: dir, o: o, pads: map[string]*Pad{}, told: map[string]bool{}}, nil
}

// Find returns the pad that self shares with peer. The error is [parley.ErrNoKey] when
// there is none, and that of [Open] when it cannot be opened. The Dir closes it.
func (d *Dir) Find(self, peer parley.Name) (*Pad, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.find(self, peer)
}

func (d *Dir) find(self, peer parley.Name) (*Pad, error) {
	if strings.ContainsAny(string(self+peer), "/\\\x00") || self == "" || peer == "" {
		return nil, fmt.Errorf("%w: no pad has such names: %q, %q", parley.ErrNoKey, self, peer)
	}
	for _, name := range []string{string(self) + "." + string(peer) + padSuffix, otp.MetadataNameV1(string(self), string(peer))} {
		p, err := d.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if p.self != self || p.peer != peer {
			return nil, fmt.Errorf("%w: %s says that it is the pad of %q with %q: give it its right name", parley.ErrMalformed, filepath.Join(d.path, name), p.self, p.peer)
		}
		return p, nil
	}
	return nil, fmt.Errorf("%w: %q has no pad with %q in %s", parley.ErrNoKey, self, peer, d.path)
}

func (d *Dir) open(name string) (*Pad, error) {
	if d.shut {
		return nil, ErrClosed
	}
	if p := d.pads[name]; p != nil {
		if same, err := p.pad.is(p.path); err == nil && same {
			return p, nil
		}
		delete(d.pads, name)
		_ = p.Close() // which fails, since it has gone
	}
	path := filepath.Join(d.path, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(name, padSuffix) {
		return nil, err
	}
	p, err := Open(path, d.o)
	if err == nil {
		d.pads[name] = p
		delete(d.told, name)
	}
	return p, err
}

// All returns the pads in the folder. Those that cannot be opened are told as an event,
// once.
func (d *Dir) All() []*Pad {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.path)
	if err != nil {
		d.tell(d.path, err)
	}
	var all []*Pad
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, padSuffix) && !strings.HasSuffix(name, metaSuffix) {
			continue
		}
		p, err := d.open(name)
		if err != nil {
			d.tell(name, err)
			continue
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Pad) int { return strings.Compare(a.path, b.path) })
	return all
}

func (d *Dir) tell(name string, err error) {
	if !d.told[name] && d.o.Event != nil && !errors.Is(err, ErrClosed) {
		d.o.Event(Event{Kind: Damaged, Text: err.Error()})
	}
	d.told[name] = true
}

// As returns the pads of one person as one [otp.Pad].
func (d *Dir) As(self parley.Name) otp.Pad { return dirPad{d, self} }

// Close closes all pads.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	var errs []error
	for name, p := range d.pads {
		if err := p.Close(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	clear(d.pads)
	return errors.Join(errs...)
}

type dirPad struct {
	d    *Dir
	self parley.Name
}

func (x dirPad) Package(ctx context.Context, id [16]byte, peer parley.Name, msg []byte) ([]byte, error) {
	p, err := x.d.Find(x.self, peer)
	if err != nil {
		return nil, err
	}
	return p.Package(ctx, id, peer, msg)
}

func (x dirPad) Unpackage(ctx context.Context, peer parley.Name, packet []byte) (*otp.Opened, error) {
	p, err := x.d.Find(x.self, peer)
	if err != nil {
		return nil, err
	}
	return p.Unpackage(ctx, peer, packet)
}

func (x dirPad) Done(ctx context.Context, peer parley.Name, packet [32]byte) error {
	p, err := x.d.Find(x.self, peer)
	if err != nil {
		return err
	}
	return p.Done(ctx, peer, packet)
}

func (x dirPad) Status(ctx context.Context, peer parley.Name) (otp.Status, error) {
	p, err := x.d.Find(x.self, peer)
	if err != nil {
		return otp.Status{}, err
	}
	return p.Status(ctx, peer)
}
