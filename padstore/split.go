package padstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"parley"
	"parley/secure/otp"
)

// Split makes the two people's files of a whole pad: of version 2 one for each, of
// version 1 copies of the original's two files for each, to[0] being the folder of lane 0
// (direction 1). The pad itself stays: it must be deleted when the two have theirs.
// Nothing is overwritten: [fs.ErrExist]. progress may be nil.
func Split(ctx context.Context, path string, to [2]string, progress func(done, total int64)) error {
	if st, err := os.Stat(path); err == nil && st.IsDir() || strings.HasSuffix(path, metaSuffix) || strings.HasSuffix(path, storeSuffix) {
		return splitV1(ctx, path, to, progress)
	}
	p, err := Open(path, Options{Marks: os.DevNull})
	if err != nil {
		return err
	}
	defer p.Close()
	if !p.whole {
		return fmt.Errorf("%w: %s is %q's end of a pad already", parley.ErrRefused, path, p.self)
	}
	c := &copier{ctx: ctx, progress: progress, total: 2 * p.size}
	for lane := range 2 {
		h := *p.header
		h.Owner = lane
		head, err := h.Marshal()
		if err != nil {
			return err
		}
		name := h.Names[lane] + "." + h.Names[1-lane] + padSuffix
		from := io.NewSectionReader(p.pad, p.base, p.size)
		if err := c.create(filepath.Join(to[lane], name), head, from); err != nil {
			return err
		}
	}
	return nil
}

func splitV1(ctx context.Context, path string, to [2]string, progress func(done, total int64)) error {
	dir, only := path, ""
	if st, err := os.Stat(path); err != nil {
		return err
	} else if !st.IsDir() {
		dir, only = filepath.Dir(path), strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), metaSuffix), storeSuffix)
	}
	all, err := filepath.Glob(filepath.Join(glob(dir), "*"+metaSuffix))
	if err != nil {
		return err
	}
	var ends []*otp.MetadataV1
	for _, name := range all {
		m, err := (&Pad{d: osDisk{}, metaPath: name}).readMeta()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if only == "" || only == m.UID+"."+m.RID || only == m.RID+"."+m.UID {
			ends = append(ends, m)
		}
	}
	if len(ends) != 2 || ends[0].UID != ends[1].RID || ends[0].RID != ends[1].UID || ends[0].Direction != -ends[1].Direction || ends[0].NBytes != ends[1].NBytes {
		return fmt.Errorf("%w: %s has not the two ends of one pad of version 1: name one of its files", parley.ErrRefused, path)
	}
	c := &copier{ctx: ctx, progress: progress, total: ends[0].NBytes * 2}
	for _, m := range ends {
		if m.EncryptIndex != otp.NewMetadataV1(m.UID, m.RID, m.NBytes, m.RService, m.Direction == 1).EncryptIndex || m.DecryptLog != "" {
			return fmt.Errorf("%w: the pad of %q was used: a copy of it would use the same bytes again", parley.ErrRefused, m.UID)
		}
		lane := (1 - m.Direction) / 2
		store := otp.StoreNameV1(m.UID, m.RID)
		if err := c.copyFile(filepath.Join(dir, m.StoreFilename), filepath.Join(to[lane], store), m.NBytes); err != nil {
			return err
		}
		mine := *m
		mine.StoreFilename, mine.MetadataFilename = store, otp.MetadataNameV1(m.UID, m.RID)
		if err := c.create(filepath.Join(to[lane], mine.MetadataFilename), mine.Marshal(), strings.NewReader("")); err != nil {
			return err
		}
	}
	return nil
}

// glob makes a path match itself.
func glob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

type copier struct {
	ctx         context.Context
	progress    func(done, total int64)
	done, total int64
}

func (c *copier) copyFile(from, to string, n int64) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != n {
		return errors.Join(err, fmt.Errorf("%w: %s has not the %d bytes that its metadata says", parley.ErrMalformed, from, n))
	}
	return c.create(to, nil, f)
}

// create makes a file that holds head and then what from gives. Before it is whole it has
// another name.
func (c *copier) create(path string, head []byte, from io.Reader) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(head)
	b := make([]byte, 1<<20)
	for err == nil {
		var n int
		if err = c.ctx.Err(); err != nil {
			break
		}
		n, err = io.ReadFull(from, b)
		if n > 0 {
			if _, werr := f.Write(b[:n]); werr != nil {
				err = werr
			}
			c.done += int64(n)
			if c.progress != nil {
				c.progress(c.done, c.total)
			}
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := putNew(f.Name(), path); err != nil {
		return err
	}
	return osDisk{}.syncDir(dir)
}

// putNew gives a file its name, if that is free. File systems without hard links can't do
// it in one step: there the name is looked at first.
func putNew(tmp, path string) error {
	err := os.Link(tmp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return os.Rename(tmp, path)
}
