package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/carrier/smp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startTest(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutdown(t, s) })
	return s
}

func shutdown(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func address(t *testing.T, s *Server, i int) smp.Server {
	t.Helper()
	a, err := smp.ParseServer(s.Addresses()[i])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func connect(t *testing.T, a smp.Server) *smp.Conn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", a.HostPort(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	c, err := smp.Connect(nc, a.KeyHash)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestStartTwiceInOneFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := startTest(t, Config{Data: dir, SMP2020: "127.0.0.1:0"})
	if _, err := Start(Config{Data: dir, SMP2020: "127.0.0.1:0"}, slog.Default()); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("the second one got %v", err)
	}
	a := address(t, s, 0)
	connect(t, a)
	shutdown(t, s)
	shutdown(t, s)

	// The same port and the same key after a restart.
	again := startTest(t, Config{Data: dir, SMP2020: a.HostPort()})
	if got := address(t, again, 0); got != a {
		t.Errorf("%v became %v", a, got)
	}
	connect(t, a)
}

func TestFailedStartsLeaveNothingOpen(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, x := range []struct {
		cfg  Config
		want error
	}{
		{Config{}, ErrConfig},
		{Config{Data: dir, SMP2020: "nowhere"}, ErrConfig},
		{Config{Data: dir, SMP2020: taken.Addr().String()}, ErrListen},
		{Config{Data: dir, SMP2020: "127.0.0.1:0", SMP2020Plain: taken.Addr().String()}, ErrListen},
		{Config{Data: dir, SMP2020: "127.0.0.1:0", SMP2020Plain: "0.0.0.0:0"}, ErrConfig},
		{Config{Data: dir, SMP2020: "127.0.0.1:0", Host: "a/b"}, ErrConfig},
		{Config{Data: dir, SMP2020Creators: dir}, ErrConfig},
		{Config{Data: dir, Limits: Limits{Idle: -1}}, ErrConfig},
	} {
		if _, err := Start(x.cfg, slog.Default()); !errors.Is(err, x.want) {
			t.Errorf("%+v: %v, want %v", x.cfg, err, x.want)
		}
	}
	startTest(t, Config{Data: dir, SMP2020: "127.0.0.1:0"}) // the folder is free
}

// A message that was answered with OK is there after a restart, and Shutdown
// doesn't wait for those who stay connected and silent.
func TestRestartLosesNothing(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Data: dir, SMP2020: "127.0.0.1:0", SMP2020Plain: "127.0.0.1:0"}
	s := startTest(t, cfg)
	plain := func(s *Server, cmd string, want string) string {
		t.Helper()
		nc, err := net.Dial("tcp", address(t, s, 1).HostPort())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(nc, cmd)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		return string(got)
	}
	key := newRecipient(t)
	const ids = "IDS ######################## ########################\n"
	made := plain(s, "\n\nCONN "+key.public+"\n", "\n\n"+ids)
	rid, sid := made[6:30], made[31:55]
	if got := plain(s, "\n"+sid+"\nSEND :kept\n", "\n"+sid+"\nOK\n"); !strings.HasSuffix(got, "OK\n") {
		t.Fatal(got)
	}
	connect(t, address(t, s, 0)) // stays
	begin := time.Now()
	shutdown(t, s)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("Shutdown took %v", took)
	}
	s = startTest(t, cfg)
	want := "\n" + rid + "\nOK\n\n" + rid + "\nMSG 2026-01-01T00:00:00.000Z :kept\n"
	if got := plain(s, key.sign(t, rid+"\nSUB"), want); !strings.HasSuffix(got, ":kept\n") || !strings.HasPrefix(got, want[:30]) {
		t.Errorf("got %q", got)
	}
}

// A whole life with the log at its lowest level names no client, no queue and no
// command, and the data folder holds no such file.
func TestLogKeepsNothingOfClients(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	s, err := Start(Config{Data: dir, SMP2020: "127.0.0.1:0"},
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, address(t, s, 0))
	key := newRecipient(t)
	ask := func(tr smp.Transmission, signed bool) smp.Transmission {
		t.Helper()
		if signed {
			if err := tr.Sign(key.key); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Send(&tr); err != nil {
			t.Fatal(err)
		}
		var in smp.Transmission
		if err := c.Next(&in); err != nil {
			t.Fatal(err)
		}
		return in.Clone()
	}
	ids := ask(smp.Transmission{Verb: smp.CONN, Key: key.der}, false)
	ask(smp.Transmission{Verb: smp.SUB, ID: ids.Recipient}, true)
	ask(smp.Transmission{Verb: smp.SUB, ID: ids.Sender}, true)
	ask(smp.Transmission{Verb: smp.HOLD, ID: ids.Recipient}, true)
	ask(smp.Transmission{Verb: smp.DEL, ID: ids.Recipient}, true)
	c.Close()
	nc, err := net.Dial("tcp", address(t, s, 0).HostPort())
	if err != nil {
		t.Fatal(err)
	}
	nc.Write(make([]byte, 5000)) // no handshake
	nc.Close()
	shutdown(t, s)
	if log.Len() > 0 {
		t.Errorf("the log of a life without faults is not empty:\n%s", log.String())
	}
	known := map[string]bool{lockName: true, keyName: true, queueName: true}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("the data folder holds %s", f.Name())
		}
	}
	for _, id := range []smp.ID{ids.Recipient, ids.Sender} {
		filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err != nil || info.IsDir() || strings.Contains(path, queueName+string(filepath.Separator)) {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, id.Bytes()) {
				t.Errorf("%s holds an ID", path)
			}
			return err
		})
	}
}

func TestTroubleIsLoggedSeldom(t *testing.T) {
	var log bytes.Buffer
	tr := newTrouble(slog.New(slog.NewTextHandler(&log, nil)))
	for range 1000 {
		tr.report("the disk", io.ErrUnexpectedEOF)
		tr.report("the store", io.ErrUnexpectedEOF)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}
