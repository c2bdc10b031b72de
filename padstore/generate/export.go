package generate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"parley"
	"parley/internal/filelock"
	"parley/internal/keyfile"
	"parley/padstore"
	"parley/secure/otp"
)

var (
	// ErrNotWhole means that a file is one person's end of a pad already, or was used.
	ErrNotWhole = errors.New("this is no whole, unused pad")
	// ErrExported means that the end was made before: two copies of one end, both in use,
	// would use pad twice.
	ErrExported = errors.New("this end was handed out already")
)

// An End is one person's part of a pad, and where it goes.
type End struct {
	Name string
	To   string // a folder, or in version 2 the file itself
}

// An Exported is one end that was made.
type Exported struct {
	Name   string    `json:"name"`
	Files  []string  `json:"files"`
	SHA256 string    `json:"sha256,omitempty"` // of the first file: the pad
	Time   time.Time `json:"time"`
}

// ExportOptions say how ends are made.
type ExportOptions struct {
	// Again makes an end that was handed out before: for when its medium was lost, unused.
	Again bool
	// Marks is the folder of the marks (padstore.Options.Marks), where it is remembered too, by
	// the pad and not by its name, what was handed out: "" is the usual one.
	Marks string
}

// Export makes people's own files of a whole pad that nobody has used, and leaves the
// whole one. A record beside it, its name with ".exported" behind it, and one in the marks'
// folder say which ends were made: another copy of one is [ErrExported] unless o.Again is
// set. A pad on a medium that can only be read has the second one only. It never overwrites.
// Other errors are [ErrNotWhole], [parley.ErrMalformed], [parley.ErrNoKey] for a name that
// is not the pad's, [ErrUnhealthy] for a pad with a hole, and as for [Run].
func Export(ctx context.Context, path string, ends []End, o ExportOptions, progress func(done, total int64)) ([]Exported, error) {
	w, err := openWhole(path)
	if err != nil {
		return nil, err
	}
	defer w.f.Close()
	// One at a time: what another has just handed out is in the record.
	if err := filelock.Wait(ctx, w.f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := w.remember(o.Marks); err != nil {
		return nil, err
	}
	// A copy of the whole pad has another lock, and the same record in the marks' folder.
	lock, err := filelock.Open(ctx, w.marked+".lock")
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	var before []Exported
	for _, record := range []string{w.record, w.marked} {
		all, err := readRecord(record)
		if err != nil {
			return nil, err
		}
		before = append(before, all...)
	}
	var outs []*out
	defer func() {
		for _, o := range outs {
			o.d.discard()
		}
	}()
	for i, e := range ends {
		if !o.Again {
			for _, b := range before {
				if b.Name == e.Name {
					return nil, fmt.Errorf("%w: %s's was made on %s", ErrExported, e.Name, b.Time.Local().Format("2006-01-02 15:04"))
				}
			}
		}
		if i > 0 && ends[i-1].Name == e.Name {
			return nil, fmt.Errorf("%w: %s's was asked for twice", ErrExported, e.Name)
		}
		out, err := w.out(e)
		if err != nil {
			return nil, err
		}
		outs = append(outs, out)
	}
	if err := w.copy(ctx, outs, progress); err != nil {
		return nil, err
	}
	// The record comes first: better an end that is only said to be made than one of which
	// nobody knows.
	var all []Exported
	for _, o := range outs {
		all = append(all, Exported{Name: o.name, Files: o.files, SHA256: fmt.Sprintf("%x", o.sum.Sum(nil)), Time: time.Now().UTC().Truncate(time.Second)})
	}
	if err := addRecord(w.marked, all); err != nil {
		return nil, err
	}
	if err := addRecord(w.record, all); err != nil && !errors.Is(err, syscall.EROFS) && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	for _, o := range outs {
		if err := o.publish(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// remember finds the record in the marks' folder.
func (w *whole) remember(marks string) (err error) {
	if marks == "" {
		if marks, err = padstore.MarksDir(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(marks, 0o700); err != nil {
		return err
	}
	id := ""
	if w.header != nil {
		id = fmt.Sprintf("%x", w.header.ID)
	} else if id, err = padstore.IdentityV1(w.v1[0], w.f, marks); err != nil {
		return err
	} else if id == "" {
		return fmt.Errorf("%w: parts of it are zeros", ErrUnhealthy)
	}
	w.marked = filepath.Join(marks, "exported-"+id)
	return nil
}

// out is an end in the making.
type out struct {
	name     string
	files    []string
	d        *draft
	sum      hash.Hash
	metadata []byte // version 1
}

// out begins the files of one end.
func (w *whole) out(e End) (*out, error) {
	i := 0
	switch e.Name {
	case w.names[0]:
	case w.names[1]:
		i = 1
	default:
		return nil, fmt.Errorf("%w: the pad is %s's and %s's", parley.ErrNoKey, w.names[0], w.names[1])
	}
	o := &out{name: e.Name, sum: sha256.New()}
	path, dir := e.To, e.To
	if st, err := os.Stat(e.To); err == nil && st.IsDir() {
		path = filepath.Join(e.To, FileName(e.Name, w.names[1-i]))
	} else if w.header == nil {
		return nil, fmt.Errorf("%s is no folder, and the files of a pad of version 1 keep their names", e.To)
	} else {
		dir = filepath.Dir(e.To)
	}
	head := []byte(nil)
	if w.header != nil {
		h := *w.header
		h.Owner = i
		var err error
		if head, err = h.Marshal(); err != nil {
			return nil, err
		}
		o.files = []string{path}
	} else {
		m := w.v1[i]
		o.metadata = m.Marshal()
		path = filepath.Join(dir, m.StoreFilename)
		o.files = []string{path, filepath.Join(dir, m.MetadataFilename)}
		if err := vacant(o.files[1]); err != nil {
			return nil, err
		}
	}
	if err := room(dir, w.size+otp.PadHeaderSize); err != nil { // the other end may go to another disk
		return nil, err
	}
	var err error
	if o.d, err = newDraft(path); err != nil {
		return nil, err
	}
	o.sum.Write(head)
	if len(head) > 0 {
		err = o.d.append(head, 0)
	}
	if err != nil {
		o.d.discard()
	}
	return o, err
}

func (w *whole) copy(ctx context.Context, outs []*out, progress func(done, total int64)) error {
	at := int64(0)
	if w.header != nil {
		at = otp.PadHeaderSize
	}
	src := &opened{Source: otp.Source{Name: w.f.Name()}, r: io.NewSectionReader(w.f, at, w.size)}
	var writers []func([]byte) error
	for i, o := range outs {
		written := int64(0)
		writers = append(writers, func(p []byte) error {
			if err := o.d.append(p, at+written); err != nil {
				return err
			}
			written += int64(len(p))
			if i == 0 && progress != nil {
				progress(written, w.size)
			}
			return nil
		}, func(p []byte) error {
			o.sum.Write(p)
			return nil
		})
	}
	return mix(ctx, []*opened{src}, w.size, writers...)
}

func (o *out) publish() error {
	if err := o.d.publish(); err != nil {
		return err
	}
	if o.metadata == nil {
		return nil
	}
	if err := keyfile.Create(o.files[1], o.metadata); err != nil {
		os.Remove(o.files[0])
		return diskError(err)
	}
	return nil
}

func readRecord(path string) (all []Exported, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		var e Exported
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s: %w: the record of what was handed out cannot be read", path, parley.ErrMalformed)
		}
		all = append(all, e)
	}
	return all, nil
}

func addRecord(path string, all []Exported) error {
	var b []byte
	for _, e := range all {
		e.SHA256 = "" // it tells something of the pad, and the record may outlive that
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b = append(append(b, line...), '\n')
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return diskError(err)
	}
	return syncDir(filepath.Dir(path))
}
