package filelock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"parley/internal/filelock"
)

const holdEnv = "PARLEY_TEST_HOLD"

// TestMain holds a lock where the environment says so, until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(holdEnv); path != "" {
		_, err := filelock.Open(context.Background(), path)
		fmt.Println(err)
		bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f, err := filelock.Open(ended, path) // free: nobody waits
	if err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	g, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := filelock.Try(g); !errors.Is(err, filelock.ErrLocked) {
		t.Error(err)
	}
	if err := filelock.Wait(ended, g); !errors.Is(err, filelock.ErrLocked) {
		t.Error(err)
	}
	if _, err := filelock.Open(ended, path); !errors.Is(err, filelock.ErrLocked) {
		t.Error(err)
	}
	got := make(chan error)
	go func() { got <- filelock.Wait(t.Context(), g) }()
	if err := filelock.Unlock(f); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	go func() { got <- filelock.Lock(f) }()
	g.Close() // gives it back, too
	if err := <-got; err != nil {
		t.Error(err)
	}
	f.Close()
	if _, err := filelock.Open(t.Context(), filepath.Join(path, "x")); err == nil {
		t.Error("a file in a file")
	}
}

// TestKilled: the lock of a process that is killed is free.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), holdEnv+"="+path)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s, err := bufio.NewReader(out).ReadString('\n'); s != "<nil>\n" {
		t.Fatal(s, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := filelock.Open(ended, path); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("held by another process: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	f, err := filelock.Open(ended, path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
