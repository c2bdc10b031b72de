// Package generate makes the files of a one-time pad (seeds/one-time-chat §6.2): the XOR
// of independent sources, each tested before it is mixed, in memory that does not depend
// on the size. It never overwrites a file, and what fails or is interrupted leaves
// nothing that could be used.
//
// The XOR is as random as the best of its sources, if the others do not depend on it.
// What a computer's generator gives is computationally secure: unconditional is only a
// pad with a physical source that somebody has assessed.
package generate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"path/filepath"
	"time"

	"parley"
	"parley/internal/keyfile"
	"parley/secure/otp"
)

// A Spec says which pad to make.
type Spec struct {
	Names   [2]string // the first one's half begins at position 0
	Size    int64     // in bytes; at least otp.MinPad
	Version otp.Version
	Dir     string
	Sources []Source // 1 to 16
	// Progress is told how many bytes of the pad were mixed; it may be nil. It holds the
	// work up while it runs.
	Progress func(done, total int64)
}

// A Result says what was made.
type Result struct {
	Files   []string
	Header  *otp.PadHeader // version 2
	Sources []otp.Source
}

// Sizes in bytes.
const (
	maskSize = len(otp.PadHeader{}.Check)
	maxV1    = otp.MaxIndexV1 + 1
)

// FileName is the name of a pad of version 2, or of one end of it.
func FileName(owner, peer string) string { return owner + "." + peer + ".pad" }

// Needs returns how many bytes of each source a pad of that size uses: version 2 takes 16
// more for the mask of its check, and the tests look at StartUp at least.
func Needs(v otp.Version, size int64) int64 {
	if v == otp.V2 {
		size += int64(maskSize)
	}
	return max(size, StartUp)
}

// Run makes a pad. Errors wrap [parley.ErrRefused] for what cannot be asked for,
// [ErrSource], [ErrUnhealthy] and [ErrEqual] for a source, [fs.ErrExist] for a file that
// is there already, [ErrUnfinished] and [ErrSpace].
func Run(ctx context.Context, s Spec) (*Result, error) {
	if err := s.valid(); err != nil {
		return nil, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	sources, err := openAll(s.Sources, Needs(s.Version, s.Size))
	if err != nil {
		return nil, err
	}
	defer closeAll(sources)
	r := &Result{}
	for _, o := range sources {
		r.Sources = append(r.Sources, o.Source)
	}
	if s.Version == otp.V1 {
		return r, s.v1(ctx, sources, r)
	}
	return r, s.v2(ctx, sources, r)
}

func (s *Spec) valid() error {
	limit := int64(otp.MaxPad)
	if s.Version == otp.V1 {
		limit = maxV1
	}
	if err := otp.ValidNames(s.Names); err != nil {
		return err
	}
	switch {
	case s.Version != otp.V1 && s.Version != otp.V2:
		return fmt.Errorf("no version %d of a pad", s.Version)
	case s.Size < otp.MinPad || s.Size > limit:
		return fmt.Errorf("a pad of %d bytes, not %d to %d", s.Size, otp.MinPad, limit)
	case len(s.Sources) > 16:
		return fmt.Errorf("%d sources, not 1 to 16", len(s.Sources))
	}
	return nil
}

func (s *Spec) v2(ctx context.Context, sources []*opened, r *Result) error {
	h := &otp.PadHeader{
		Size: s.Size, Split: s.Size / 2, Names: s.Names, Owner: otp.Whole, Created: time.Now().UTC().Truncate(time.Second), Sources: r.Sources,
	}
	if _, err := rand.Read(h.ID[:]); err != nil {
		return err
	}
	if _, err := rand.Read(h.Mailbox[:]); err != nil {
		return err
	}
	if _, err := h.Marshal(); err != nil { // too long: better now than at the end
		return err
	}
	d, err := s.draft(FileName(s.Names[0], s.Names[1]), s.Size+otp.PadHeaderSize)
	if err != nil {
		return err
	}
	defer d.discard()
	sum := sha256.New()
	var mask [maskSize]byte
	defer clear(mask[:])
	written, hashed := int64(0), int64(0)
	err = mix(ctx, sources, Needs(s.Version, s.Size), func(p []byte) error {
		own := p[:max(0, min(int64(len(p)), s.Size-written))]
		if err := d.append(own, otp.PadHeaderSize+written); err != nil {
			return err
		}
		written += int64(len(p))
		s.tell(written)
		return nil
	}, func(p []byte) error {
		own := max(0, min(int64(len(p)), s.Size-hashed))
		sum.Write(p[:own])
		if from := hashed + own - s.Size; from >= 0 && from < int64(maskSize) {
			copy(mask[from:], p[own:])
		}
		hashed += int64(len(p))
		return nil
	})
	if err != nil {
		return err
	}
	subtle.XORBytes(h.Check[:], sum.Sum(nil), mask[:])
	header, err := h.Marshal()
	if err != nil {
		return err
	}
	// The header comes last: without it the file is no pad.
	if err := d.append(header, 0); err != nil {
		return err
	}
	path := d.path
	if err := d.publish(); err != nil {
		return err
	}
	r.Header, r.Files = h, []string{path}
	return nil
}

// draft begins a file of size bytes in the folder of the pad.
func (s *Spec) draft(name string, size int64) (*draft, error) {
	if err := room(s.Dir, size); err != nil {
		return nil, err
	}
	return newDraft(filepath.Join(s.Dir, name))
}

func (s *Spec) tell(done int64) {
	if s.Progress != nil {
		s.Progress(min(done, s.Size), s.Size)
	}
}

// v1 makes the four files of the original's generator: two equal stores, and what each of
// the two people's devices knows of them.
func (s *Spec) v1(ctx context.Context, sources []*opened, r *Result) (err error) {
	metadata := [2]*otp.MetadataV1{}
	for i := range metadata {
		metadata[i] = otp.NewMetadataV1(s.Names[i], s.Names[1-i], s.Size, service(r.Sources), i == 0)
		for _, name := range []string{metadata[i].StoreFilename, metadata[i].MetadataFilename} {
			if err := vacant(filepath.Join(s.Dir, name)); err != nil {
				return err
			}
		}
	}
	stores := [2]*draft{}
	for i, m := range metadata {
		// The first store takes no room yet.
		if stores[i], err = s.draft(m.StoreFilename, 2*s.Size); err != nil {
			return err
		}
		defer stores[i].discard()
	}
	written := [2]int64{}
	store := func(i int) func([]byte) error {
		return func(p []byte) error {
			own := p[:max(0, min(int64(len(p)), s.Size-written[i]))]
			if err := stores[i].append(own, written[i]); err != nil {
				return err
			}
			written[i] += int64(len(p))
			if i == 0 {
				s.tell(written[i])
			}
			return nil
		}
	}
	if err := mix(ctx, sources, Needs(s.Version, s.Size), store(0), store(1)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			removeAll(r.Files)
			r.Files = nil
		}
	}()
	for i := range stores {
		path := stores[i].path
		if err := stores[i].publish(); err != nil {
			return err
		}
		r.Files = append(r.Files, path)
	}
	for _, m := range metadata {
		path := filepath.Join(s.Dir, m.MetadataFilename)
		if err := keyfile.Create(path, m.Marshal()); err != nil {
			return diskError(err)
		}
		r.Files = append(r.Files, path)
	}
	return nil
}

// service is the better of the two words that the original's metadata has for sources.
func service(sources []otp.Source) string {
	for _, s := range sources {
		if s.Kind == Random || s.Assessed {
			return Random
		}
	}
	return Urandom
}
