package profile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"parley/internal/filelock"
)

// A Lock says that this process owns the profile. The operating system drops it
// when the process ends, however it ends.
type Lock struct {
	once sync.Once
	f    *os.File
	err  error
}

// TryLock takes the lock of the profile in dir, or returns [ErrOwned] at once.
func TryLock(dir string) (*Lock, error) {
	path := filepath.Join(dir, lockName)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: %w", dir, ErrNone)
		}
		if err != nil {
			return nil, err
		}
		if err := filelock.Try(f); err != nil {
			defer f.Close()
			if errors.Is(err, filelock.ErrLocked) {
				return nil, fmt.Errorf("%s: %w%s", dir, ErrOwned, owner(f))
			}
			return nil, fmt.Errorf("%s: the lock cannot be taken: %w", path, err)
		}
		// Somebody may have removed the file between our two calls.
		have, err1 := f.Stat()
		now, err2 := os.Stat(path)
		if err1 != nil || err2 != nil || !os.SameFile(have, now) {
			f.Close()
			continue
		}
		// Only for people to read.
		if err := f.Truncate(0); err == nil {
			fmt.Fprintf(f, "%d\n", os.Getpid())
		}
		return &Lock{f: f}, nil
	}
}

func owner(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.Read(b)
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n]))); err == nil && pid > 0 {
		return fmt.Sprintf(" (process %d)", pid)
	}
	return ""
}

// Release gives the lock back. It may be called more than once.
func (l *Lock) Release() error {
	l.once.Do(func() { l.err = l.f.Close() })
	return l.err
}

// maxSocket is the longest path of a socket: 104 bytes with the final NUL on
// macOS, 108 on Linux.
const maxSocket = 103

// SocketPath returns where the owner of the profile in dir listens: "socket" in
// dir, or, where that is longer than a socket's path may be, a name made from
// dir's in a directory of mode 0700 under XDG_RUNTIME_DIR or, without that,
// the directory for temporary files. Both sides need the same environment then.
func SocketPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	path := filepath.Join(abs, "socket")
	if len(path) <= maxSocket {
		return path, nil
	}
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = os.TempDir()
	}
	private := filepath.Join(base, fmt.Sprintf("parley-%d", os.Getuid()))
	sum := sha256.Sum256([]byte(abs))
	path = filepath.Join(private, hex.EncodeToString(sum[:12]))
	if len(path) > maxSocket {
		return "", fmt.Errorf("%s is too long for a socket, as is %s: set XDG_RUNTIME_DIR to a short path", abs, base)
	}
	if err := os.Mkdir(private, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	st, err := os.Lstat(private)
	if err != nil {
		return "", err
	}
	if !st.IsDir() || !ownedByUs(st) {
		return "", fmt.Errorf("%s belongs to somebody else: set XDG_RUNTIME_DIR to a directory of yours", private)
	}
	if err := checkDir(private); err != nil {
		return "", err
	}
	return path, nil
}
