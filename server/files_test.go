//go:build unix

package server

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
)

// Connections leave the store its files, and who runs the relay is told when
// that makes few of them.
func TestConnectionsLeaveTheStoreItsFiles(t *testing.T) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if old.Cur < 2000 {
		t.Skip("the limit of open files is low already")
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)
	for _, x := range []struct {
		limit                uint64
		wanted, fronts, want int
		told                 bool
	}{
		{2000, 100, 1, 100, false},
		{2000, 20000, 1, 2000 - storeFiles, true},
		{2000, 5000, 1, 2000 - storeFiles, true},
		{2000, 5000, 2, (2000 - storeFiles) / 2, true},
		{400, 5000, 1, 100, true},
	} {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: x.limit, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		got := connections(x.wanted, x.fronts, slog.New(slog.NewTextHandler(&log, nil)))
		if got != x.want || strings.Contains(log.String(), "open files") != x.told {
			t.Errorf("%+v: %d, log %q", x, got, log.String())
		}
	}
}
