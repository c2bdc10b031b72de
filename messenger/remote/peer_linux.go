package remote

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sameUser asks the kernel who is at the other end (SO_PEERCRED). The socket's
// mode says the same; this holds where a file system ignores modes.
func sameUser(conn net.Conn) error {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return fmt.Errorf("who is at the socket: %w", credErr)
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: user %d", ErrForeign, cred.Uid)
	}
	return nil
}
