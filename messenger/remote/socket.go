package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// maxPath is what fits a socket address on Linux (sun_path, less its NUL), and
// about what fits elsewhere.
const maxPath = 103

// Listen makes the socket at path, which only the current user can open. The
// caller holds the profile's lock, so a socket that is already there is left
// over from an owner that died, and is replaced; anything else is an error.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("the socket's path %s is longer than %d bytes", path, maxPath)
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is in the way: it is not a socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// The socket is made in a folder of its own that nobody else can enter,
	// and moved when its mode is right: it is never open to others.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	if len(made) > maxPath {
		return nil, fmt.Errorf("the socket's path %s is longer than %d bytes", made, maxPath)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		l.Close()
		return nil, err
	}
	return &socket{l, path}, nil
}

type socket struct {
	*net.UnixListener
	path string
}

// Close removes the socket's file as well.
func (s *socket) Close() error {
	os.Remove(s.path)
	return s.UnixListener.Close()
}

// Dial connects to the owner of a profile. Errors wrap ErrNoAnswer if nobody
// listens or nobody answers within 5 s, ErrVersion and ErrForeign.
func Dial(ctx context.Context, path string, more Sentinels) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	if err := sameUser(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return NewClient(ctx, conn, more)
}
