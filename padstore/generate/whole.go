package generate

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"parley"
	"parley/secure/otp"
)

// whole is a pad that nobody has used.
type whole struct {
	f      *os.File
	names  [2]string
	size   int64              // of what is to be copied
	record string             // of what was handed out: beside it,
	marked string             // and in the marks' folder
	header *otp.PadHeader     // version 2
	v1     [2]*otp.MetadataV1 // version 1
}

func openWhole(path string) (_ *whole, err error) {
	if strings.HasSuffix(path, ".random.store") || strings.HasSuffix(path, ".random.metadata") {
		return openWholeV1(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	b := make([]byte, otp.PadHeaderSize)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("%s: %w: it is too short for a pad", path, parley.ErrMalformed)
	}
	h, err := otp.ParsePadHeader(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if h.Owner != otp.Whole {
		return nil, fmt.Errorf("%s: %w: it is %s's end", path, ErrNotWhole, h.Names[h.Owner])
	}
	if st, err := f.Stat(); err != nil || st.Size() != h.Size+otp.PadHeaderSize {
		return nil, fmt.Errorf("%s: %w: the file is not as long as its header says", path, parley.ErrMalformed)
	}
	return &whole{f: f, names: h.Names, size: h.Size, record: path + ".exported", header: h}, nil
}

func openWholeV1(path string) (*whole, error) {
	dir, base := filepath.Split(path)
	stem := strings.TrimSuffix(strings.TrimSuffix(base, ".random.store"), ".random.metadata")
	b, err := os.ReadFile(filepath.Join(dir, stem+".random.metadata"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotWhole, err)
	}
	m, err := otp.ParseMetadataV1(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	w := &whole{names: [2]string{m.UID, m.RID}}
	for i, uid := range w.names {
		rid := w.names[1-i]
		b, err := os.ReadFile(filepath.Join(dir, otp.MetadataNameV1(uid, rid)))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotWhole, err)
		}
		m, err := otp.ParseMetadataV1(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", otp.MetadataNameV1(uid, rid), err)
		}
		fresh := otp.NewMetadataV1(uid, rid, m.NBytes, m.RService, m.Direction == 1)
		fresh.SplitIndex, fresh.Extra = m.SplitIndex, m.Extra
		if !bytes.Equal(fresh.Marshal(), m.Marshal()) {
			return nil, fmt.Errorf("%w: %s says so", ErrNotWhole, otp.MetadataNameV1(uid, rid))
		}
		journal := filepath.Join(dir, uid+"."+rid+".random.journal")
		if err := vacant(journal); err != nil {
			return nil, fmt.Errorf("%w: %s says so", ErrNotWhole, journal)
		}
		w.v1[i] = m
	}
	if a, b := w.v1[0], w.v1[1]; a.NBytes != b.NBytes || a.SplitIndex != b.SplitIndex || a.Direction == b.Direction {
		return nil, fmt.Errorf("%w: the metadata of the two ends do not belong together", ErrNotWhole)
	}
	if w.v1[0].Direction == -1 { // the first one's half is the lower one
		w.names[0], w.names[1] = w.names[1], w.names[0]
		w.v1[0], w.v1[1] = w.v1[1], w.v1[0]
	}
	store := filepath.Join(dir, w.v1[0].StoreFilename)
	f, err := os.Open(store)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || st.Size() != w.v1[0].NBytes {
		f.Close()
		return nil, fmt.Errorf("%s: %w: it is not as long as its metadata says", store, parley.ErrMalformed)
	}
	w.f, w.size, w.record = f, w.v1[0].NBytes, store+".exported"
	return w, nil
}
