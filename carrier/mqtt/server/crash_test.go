package server

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// childBroker serves in a process that is there to be killed.
func childBroker(dir string) {
	s, err := New(Options{Dir: dir, MemTable: 256 << 10, Scrub: 50 * time.Millisecond})
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			fmt.Println(l.Addr())
			err = s.Serve(l)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// spawn starts a broker in a process of its own and returns its address.
func spawn(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), "PARLEY_TEST_BROKER="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(addr)
}

// The broker is killed again and again in mid-traffic: nothing that was
// acknowledged is lost, and no QoS 2 message comes twice.
func TestKill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	dir := t.TempDir()
	talkers, ears := newTalkersAndEars()
	for i := range rounds {
		cmd, addr := spawn(t, dir)
		if i == 0 {
			enrol(t, addr, ears)
		}
		round(t, addr, talkers, ears, func() {
			time.AfterFunc(time.Duration(50+rand.IntN(250))*time.Millisecond, func() { cmd.Process.Kill() })
			cmd.Wait()
		})
	}
	_, addr := spawn(t, dir)
	settled(t, addr, talkers, ears)
	for _, k := range talkers {
		if k.acked < rounds {
			t.Errorf("%s had only %d messages acknowledged", k.id, k.acked)
		}
	}
}

// A pausedFS lets no sync begin or end while its lock is held.
type pausedFS struct {
	vfs.FS
	syncing sync.RWMutex
}

type pausedFile struct {
	vfs.File
	fs *pausedFS
}

func (f *pausedFS) file(v vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &pausedFile{v, f}, nil
}

func (f *pausedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(f.FS.Create(name, c))
}

func (f *pausedFS) OpenDir(name string) (vfs.File, error) { return f.file(f.FS.OpenDir(name)) }

func (f *pausedFile) synced(how func() error) error {
	f.fs.syncing.RLock()
	defer f.fs.syncing.RUnlock()
	return how()
}

func (f *pausedFile) Sync() error     { return f.synced(f.File.Sync) }
func (f *pausedFile) SyncData() error { return f.synced(f.File.SyncData) }
func (f *pausedFile) SyncTo(n int64) (full bool, err error) {
	err = f.synced(func() error { full, err = f.File.SyncTo(n); return err })
	return full, err
}

// cutAll closes all connections and lets no more come.
func (s *Server) cutAll() {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.closeAll()
}

// Power fails again and again, and a random part of what was not synced is kept.
func TestPowerLoss(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	mem := vfs.NewCrashableMem()
	talkers, ears := newTalkersAndEars()
	rng := rand.New(rand.NewPCG(1, uint64(rounds)))
	for i := range rounds {
		disk := &pausedFS{FS: mem}
		b := start(t, Options{Dir: "db", FS: disk, MemTable: 128 << 10, Scrub: 20 * time.Millisecond})
		if i == 0 {
			enrol(t, b.addr, ears)
		}
		round(t, b.addr, talkers, ears, func() {
			published := b.s.Stats().Published + uint64(20+rng.IntN(100))
			b.until("traffic", func(s Stats) bool { return s.Published >= published })
			disk.syncing.Lock()
			mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 100}[i%3], RNG: rng})
			b.s.cutAll() // nobody hears of what comes after
		})
		disk.syncing.Unlock()
		b.stop()
	}
	b := start(t, Options{Dir: "db", FS: mem})
	settled(t, b.addr, talkers, ears)
	for _, k := range talkers {
		if k.acked < rounds {
			t.Errorf("%s had only %d messages acknowledged", k.id, k.acked)
		}
	}
}
