package profile

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const lockDir = "PARLEY_TEST_LOCK_DIR"

func TestLock(t *testing.T) {
	dir := t.TempDir()
	l, err := TryLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(dir); !errors.Is(err, ErrOwned) {
		t.Fatalf("second: %v", err)
	}
	for range 2 {
		if err := l.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if l, err = TryLock(dir); err != nil {
		t.Fatal(err)
	}
	l.Release()
}

// TestLockOfAnother: the lock of a process that is killed is free.
func TestLockOfAnother(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), lockDir+"="+dir)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s, err := bufio.NewReader(out).ReadString('\n'); s != "<nil>\n" {
		t.Fatal(s, err)
	}
	_, err = TryLock(dir)
	if !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("held by another process: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	l, err := TryLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

func TestLockGiven(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := TryLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Lock = l
	p, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	p.Close() // and with it the lock
	if o.Lock, err = TryLock(dir); err != nil {
		t.Fatal(err)
	}
	bad := o
	bad.Secret = Passphrase("wrong")
	if _, err := Open(dir, bad); !errors.Is(err, ErrPassphrase) {
		t.Fatal(err)
	}
	if _, err := TryLock(dir); !errors.Is(err, ErrOwned) { // still the caller's
		t.Fatal(err)
	}
	if p, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	p.Close()
}

func TestSocketPath(t *testing.T) {
	run := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", run)
	short := t.TempDir()
	path, err := SocketPath(short)
	if err != nil || path != filepath.Join(short, "socket") {
		t.Fatal(path, err)
	}
	link := filepath.Join(run, "link")
	os.Symlink(short, link)
	if p, err := SocketPath(link); err != nil || p != path {
		t.Errorf("by another name: %s, %v", p, err)
	}
	t.Chdir(short)
	if p, err := SocketPath("."); err != nil || p != path {
		t.Errorf("by a relative name: %s, %v", p, err)
	}

	long := filepath.Join(short, strings.Repeat("l", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	path, err = SocketPath(long)
	if err != nil || !strings.HasPrefix(path, run) || len(path) > maxSocket {
		t.Fatal(path, err)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Fatal(st, err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if p, _ := SocketPath(long); p != path {
		t.Error("another path the second time")
	}
	if p, _ := SocketPath(long + "2"); p == path {
		t.Error("the same path for another profile")
	}
	private := filepath.Dir(path)
	os.Chmod(private, 0o755)
	if _, err := SocketPath(long); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("open to others: %v", err)
	}
	os.RemoveAll(private)
	os.Symlink(short, private)
	if _, err := SocketPath(long); err == nil {
		t.Error("a link was followed")
	}
	t.Setenv("XDG_RUNTIME_DIR", long)
	if _, err := SocketPath(long); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("everything too long: %v", err)
	}
}
