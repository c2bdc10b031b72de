package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A faultFS says that the disk is full, or fails the log, while it is told to.
type faultFS struct {
	vfs.FS
	free atomic.Uint64
	fail atomic.Bool
}

func (f *faultFS) GetDiskUsage(dir string) (vfs.DiskUsage, error) {
	if n := f.free.Load(); n != 0 {
		return vfs.DiskUsage{AvailBytes: n, TotalBytes: 1 << 40}, nil
	}
	return f.FS.GetDiskUsage(dir)
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err != nil || filepath.Ext(name) != ".log" {
		return file, err
	}
	return &faultFile{file, f}, nil
}

type faultFile struct {
	vfs.File
	fs *faultFS
}

func (f *faultFile) SyncData() error { return f.try(f.File.SyncData) }
func (f *faultFile) Sync() error     { return f.try(f.File.Sync) }
func (f *faultFile) try(how func() error) error {
	if f.fs.fail.Load() {
		return syscall.EIO
	}
	return how()
}

// On a disk with nothing left but the reserve, what would have to be stored is
// refused, and told; what needs no disk goes on, and so does all when there is
// room again.
func TestFullDisk(t *testing.T) {
	fs := &faultFS{FS: vfs.Default}
	b := start(t, Options{FS: fs})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("a", 2)
	s.bye()
	p := b.in(v5, who{id: "p", expiry: 100})
	p.say(msg{topic: "a", payload: "before", qos: 1})
	fs.free.Store(64<<20 + 1)
	full := func() bool {
		b.s.life().disk.space.ask()
		return !b.s.life().disk.space.room(100)
	}
	waitFor(t, "full disk", full)
	for _, qos := range []byte{1, 2} {
		for _, m := range []msg{{topic: "a", qos: qos, id: 5, payload: "x"}, {topic: "r", qos: qos, id: 5, retain: true, payload: "x"}} {
			p.pub(m)
			if a := p.read(); a.code != byte(quotaExceeded) {
				t.Errorf("%+v: %+v", m, a)
			}
		}
	}
	if got := p.sub("b", 1); got != byte(quotaExceeded) {
		t.Errorf("SUBACK 0x%02x", got)
	}
	c := b.dial(v5)
	if got := c.hello(who{id: "new", expiry: 100}); got.code != byte(quotaExceeded) {
		t.Errorf("%+v", got)
	}
	c = b.in(v5, who{id: "new", clean: true})
	c.sub("live", 1)
	p.say(msg{topic: "live", payload: "x", qos: 1})
	c.got("live", "x", 1)
	old := b.in(v311, who{id: "old", clean: true})
	old.pub(msg{topic: "a", qos: 1, id: 1})
	old.want(0)
	fs.free.Store(0)
	waitFor(t, "room", func() bool { return !full() })
	p.say(msg{topic: "a", payload: "after", qos: 1})
	s = b.in(v5, who{id: "s", expiry: 100})
	s.got("a", "before", 1)
	s.got("a", "after", 1)
	s.quiet()
}

// A log that can't be written ends this life of the broker: nothing is
// acknowledged any more, all connections end, and a new life begins when the disk
// is back, with all that was acknowledged.
func TestFailingDisk(t *testing.T) {
	if os.Getenv(leaky) == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "-test.run=^TestFailingDisk$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), leaky+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	fs := &faultFS{FS: vfs.NewMem()}
	var told atomic.Int64
	b := start(t, Options{Dir: "db", FS: fs, Trouble: func(string, error) { told.Add(1) }})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("a", 1)
	s.bye()
	p := b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a", payload: "kept", qos: 1})
	fs.fail.Store(true)
	p.pub(msg{topic: "a", payload: "lost", qos: 1, id: 2})
	p.want(0)
	c := b.dial(v5)
	c.sendConnect(who{id: "early", clean: true})
	if got := c.read(); got.kind != 0 && got.code != byte(unavailable) {
		t.Errorf("%+v", got)
	}
	fs.fail.Store(false)
	waitFor(t, "new life", func() bool { return b.s.life() != nil })
	s = b.in(v5, who{id: "s", expiry: 100})
	s.got("a", "kept", 1)
	p = b.in(v5, who{id: "p", clean: true})
	p.say(msg{topic: "a", payload: "again", qos: 1})
	for s.want(pPublish).payload != "again" { // "lost" may have got there, it was not refused
	}
	if told.Load() == 0 {
		t.Error("nobody was told")
	}
}

// What was delivered leaves the files.
func TestScrub(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Options{Dir: dir, Scrub: 20 * time.Millisecond})
	secret := "a payload that must not stay"
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("a", 2)
	p := b.in(v5, who{id: "p", clean: true})
	holds := func(text string) bool {
		found := false
		filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				data, _ := os.ReadFile(path)
				found = found || bytes.Contains(data, []byte(text))
			}
			return nil
		})
		return found
	}
	s.close()
	p.say(msg{topic: "a", payload: secret, qos: 2})
	p.say(msg{topic: "kept", payload: secret + " retained", qos: 1, retain: true})
	if err := b.s.life().disk.db.Flush(); err != nil { // into tables, where deleting does not erase
		t.Fatal(err)
	}
	if !holds(secret) {
		t.Fatal("the files don't hold what waits")
	}
	s = b.in(v5, who{id: "s", expiry: 100})
	s.got("a", secret, 2)
	p.say(msg{topic: "kept", qos: 1, retain: true})
	waitFor(t, "end of the payload in the files", func() bool { return !holds(secret) })
	if holds("\x00\x04kept") {
		t.Error("the topic of a retained message that is gone is still there")
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no folder is taken")
	}
	b := start(t, Options{})
	if _, err := New(b.o); err == nil || !strings.Contains(err.Error(), "another broker") {
		t.Errorf("the second in a folder: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Dir: file}); err == nil {
		t.Error("a file is taken for a folder")
	}
	// Records that can't be read are an error, not a session less.
	b.stop()
	h, err := newHub(&b.s0().o, new(counters))
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.batch().Set(textKey(kSession, ownerKey("", "x")), []byte("short"), nil)
	h.mu.Unlock()
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(b.o); !errors.Is(err, errRecord) {
		t.Errorf("a damaged record: %v", err)
	}
}

// s0 is a server that was never opened, for its options.
func (b *broker) s0() *Server { return &Server{o: b.o.withDefaults()} }

// Shutdown answers what was received and tells clients; who doesn't read doesn't
// hold it up, and it may be repeated.
func TestShutdown(t *testing.T) {
	b := start(t, Options{})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("a", 1)
	s.bye()
	stuck := b.in(v5, who{id: "stuck", clean: true})
	stuck.sub("big", 0)
	silent := b.dial(v5) // never says anything
	p := b.in(v5, who{id: "p", clean: true})
	for range 100 {
		p.say(msg{topic: "big", payload: strings.Repeat("x", 100_000)})
	}
	for id := range uint16(20) {
		p.pub(msg{topic: "a", payload: "x", qos: 1, id: id + 1})
	}
	acked := 0
	p.want(pPuback)
	began := time.Now()
	srv := b.s
	b.stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	for acked = 1; ; acked++ {
		if a := p.read(); a.kind != pPuback {
			if a.kind != pDisconnect || a.code != byte(shuttingDown) {
				t.Errorf("%+v", a)
			}
			break
		}
	}
	silent.want(0)
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Errorf("again: %v", err)
	}
	b.open()
	s = b.in(v5, who{id: "s", expiry: 100})
	for range acked {
		s.got("a", "x", 1)
	}
}

// What is on its way to the disk when the broker is told to stop is answered first.
func TestShutdownAnswers(t *testing.T) {
	disk := &pausedFS{FS: vfs.NewMem()}
	b := start(t, Options{Dir: "db", FS: disk})
	s := b.in(v5, who{id: "s", expiry: 100})
	s.sub("a", 1)
	p := b.in(v5, who{id: "p", clean: true})
	disk.syncing.Lock()
	p.pub(msg{topic: "a", payload: "x", qos: 1, id: 1})
	b.until("message", func(s Stats) bool { return s.Published == 1 })
	stopped, srv := make(chan struct{}), b.s
	go func() { b.stop(); close(stopped) }()
	release := sync.OnceFunc(disk.syncing.Unlock)
	defer func() { release(); <-stopped }()
	waitFor(t, "stop", srv.isDraining)
	waitFor(t, "end of reading", func() bool {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		for c := range srv.conns {
			if !c.isDraining() {
				return false
			}
		}
		return true
	})
	release()
	p.want(pPuback)
	p.end(shuttingDown)
}
