// Package keyfile reads and writes the small files that hold private keys: mode
// 0600, on disk before a call returns, never overwritten by Create, and never
// half-written. Server and messenger use it alike; it knows no kind of key.
package keyfile

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 1 << 20

var (
	// ErrExposed means that others than the owner may read or change the file.
	ErrExposed = errors.New("key file is open to others")
	// ErrFormat means that the file does not hold what was asked for.
	ErrFormat = errors.New("key file is damaged or of another kind")
)

// Read returns the whole file. It refuses what is not a regular file, what is
// longer than MaxSize, and what group or others have any right to ([ErrExposed]).
func Read(path string) ([]byte, error) {
	// Looked at before it is opened, which would wait for ever on a pipe, and after.
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", path, ErrFormat)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err = f.Stat(); err != nil {
		return nil, err
	}
	if perm := st.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s: %w (mode %04o): if nobody has copied it, run: chmod 600 %s", path, ErrExposed, perm, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%s: %w: longer than %d bytes", path, ErrFormat, MaxSize)
	}
	return b, nil
}

// Create makes a new file of mode 0600 with exactly data in it. If path exists,
// whatever it is, nothing changes and the error is [fs.ErrExist]. After a crash
// there is either no file or the whole file.
func Create(path string, data []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	tmp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	// A hard link, unlike a rename, fails when the name is taken meanwhile.
	err = os.Link(tmp, path)
	os.Remove(tmp)
	if errors.Is(err, fs.ErrExist) {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	if err != nil { // file systems without links: exclusive, but not in one step
		if err := createDirectly(path, data); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// Replace makes or replaces the file in one step: after a crash it has either
// its old content or data.
func Replace(path string, data []byte) error {
	tmp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// CreatePEM creates a file with one PEM block.
func CreatePEM(path, kind string, der []byte) error {
	b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if b == nil {
		return fmt.Errorf("%s: %q cannot be a PEM block's type", path, kind)
	}
	return Create(path, b)
}

// ReadPEM returns the bytes of the file's only PEM block, which must be of that
// kind.
func ReadPEM(path, kind string) ([]byte, error) {
	b, err := Read(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%s: %w: no PEM block", path, ErrFormat)
	case block.Type != kind:
		return nil, fmt.Errorf("%s: %w: the PEM block is %q, not %q", path, ErrFormat, block.Type, kind)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, fmt.Errorf("%s: %w: something follows the PEM block", path, ErrFormat)
	}
	return block.Bytes, nil
}

// CreateLine creates a file with one line; a line end is added. The line must
// not be empty or contain one.
func CreateLine(path, line string) error {
	if line == "" || bytes.ContainsAny([]byte(line), "\r\n\x00") {
		return fmt.Errorf("%s: an empty line, or more than one", path)
	}
	return Create(path, append([]byte(line), '\n'))
}

// ReadLine returns the file's only line without its line end (LF or CRLF, or
// none). Spaces are kept: they may belong to a passphrase.
func ReadLine(path string) (string, error) {
	b, err := Read(path)
	if err != nil {
		return "", err
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	b = bytes.TrimSuffix(b, []byte("\r"))
	if len(b) == 0 || bytes.ContainsAny(b, "\r\n\x00") {
		return "", fmt.Errorf("%s: %w: not exactly one line", path, ErrFormat)
	}
	return string(b), nil
}
