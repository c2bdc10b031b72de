package padstore

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"parley/secure/otp"
)

const childEnv = "PARLEY_TEST_PAD"

// TestMain packages messages where the environment says so, in a process of its own, and
// prints the packets.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := child(path); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(path string) error {
	var from, count int
	fmt.Sscan(os.Getenv(childEnv+"_IDS"), &from, &count)
	p, err := Open(path, Options{Marks: os.Getenv(childEnv + "_MARKS"), NoSync: true})
	if err != nil {
		return err
	}
	for n := from; n < from+count; n++ {
		packet, err := p.Package(ctx, id(n), p.Peer(), modelText(id(n)))
		if err != nil {
			return err
		}
		fmt.Printf("%d %x\n", n, packet)
		if n%3 == 0 {
			if err := p.Done(ctx, p.Peer(), otp.Digest(packet)); err != nil {
				return err
			}
		}
	}
	return p.Close()
}

func command(t *testing.T, path, marks string, from, count int) *exec.Cmd {
	exe, err := os.Executable()
	check(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+path, childEnv+"_MARKS="+marks, fmt.Sprintf(childEnv+"_IDS=%d %d", from, count))
	cmd.Stderr = os.Stderr
	return cmd
}

// packets reads what a child prints.
func parsePacket(t *testing.T, line string) (n int, packet []byte) {
	text := ""
	if _, err := fmt.Sscan(line, &n, &text); err != nil {
		t.Errorf("a child says %q", line)
	}
	packet, err := hex.DecodeString(text)
	if err != nil {
		t.Errorf("a child says %q", line)
	}
	return n, packet
}

// TestDefect1ParallelProcesses: processes that package from one pad at once, and from two
// copies of it that share their marks, never use the same bytes.
func TestDefect1ParallelProcesses(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		const size = 1 << 20
		count, processes := 60, 6
		if testing.Short() {
			count, processes = 15, 3
		}
		w := newWorld(t, v, size)
		a := w.open(0)
		pack(t, a, 0, "so that there is a journal")
		check(t, a.Close())
		second := filepath.Join(t.TempDir(), "copy")
		check(t, os.CopyFS(second, os.DirFS(w.dirs[0])))
		entries, _ := os.ReadDir(second)
		for _, e := range entries {
			check(t, os.Chmod(filepath.Join(second, e.Name()), 0o600))
		}
		var mu sync.Mutex
		var all spans
		var got [][]byte
		var wg sync.WaitGroup
		for i := range processes {
			path := w.paths[0]
			if i%3 == 2 {
				path = filepath.Join(second, filepath.Base(path))
			}
			wg.Go(func() {
				out, err := command(t, path, w.marks[0], 1000*(i+1), count).Output()
				if err != nil {
					t.Errorf("%v: %s", err, out)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for line := range strings.Lines(string(out)) {
					_, packet := parsePacket(t, line)
					at := used(t, v, size, packet, 0)
					if all.overlaps(at) {
						t.Errorf("%v was used twice", at)
					}
					all.add(at)
					got = append(got, packet)
				}
			})
		}
		wg.Wait()
		if len(got) != processes*count {
			t.Fatalf("%d packets, want %d", len(got), processes*count)
		}
		b := w.open(1)
		for _, packet := range got {
			if _, err := b.Unpackage(ctx, "alice", packet); err != nil {
				t.Fatal(err)
			}
		}
		a = w.open(0) // nothing is torn
		check(t, a.Close())
	})
}

// TestKilled kills a process that packages, again and again: no byte leaves twice, and
// what was answered is answered the same way again.
func TestKilled(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		const size = 8 << 20
		kills := 25
		if testing.Short() {
			kills = 4
		}
		w := newWorld(t, v, size)
		leaked := map[int64][32]byte{}
		left := map[int][]byte{}
		for i := range kills {
			cmd := command(t, w.paths[0], w.marks[0], 1+i*7, 1<<20)
			out, err := cmd.StdoutPipe()
			check(t, err)
			check(t, cmd.Start())
			lines := bufio.NewReader(out)
			enough := 1 + rand.IntN(40)
			for seen := 0; ; seen++ {
				if seen == enough {
					check(t, cmd.Process.Kill())
				}
				line, err := lines.ReadString('\n') // what was on its way has left, too
				if err != nil {
					break
				}
				n, packet := parsePacket(t, line)
				digest := otp.Digest(packet)
				at := used(t, v, size, packet, 0)
				for x := at.start; x < at.end; x++ {
					if was, ok := leaked[x]; ok && was != digest {
						t.Fatalf("the byte of pad at %d has left twice", x)
					}
					leaked[x] = digest
				}
				if was, ok := left[n]; ok && n%3 != 0 && string(was) != string(packet) {
					t.Fatalf("id %d gave other bytes after a kill", n)
				}
				left[n] = packet
			}
			cmd.Wait()
		}
		b := w.open(1)
		for n, packet := range left {
			if n%3 != 0 {
				unpack(t, b, packet, string(modelText(id(n))))
			}
		}
		check(t, w.open(0).Close())
	})
}

// TestParallelCalls: calls side by side in one process share their commits.
func TestParallelCalls(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		w := newWorld(t, v, 1<<20)
		a, b := w.both()
		packets := make([][]byte, 200)
		var wg sync.WaitGroup
		for i := range packets {
			wg.Go(func() {
				packets[i] = pack(t, a, i, fmt.Sprint("text ", i))
				unpack(t, b, packets[i], fmt.Sprint("text ", i))
				finished(t, b, packets[i])
				finished(t, a, packets[i])
			})
		}
		wg.Wait()
		var all spans
		for _, packet := range packets {
			at := used(t, v, 1<<20, packet, 0)
			if all.overlaps(at) {
				t.Fatalf("%v was used twice", at)
			}
			all.add(at)
		}
		if s, _ := b.Status(ctx, "alice"); s.Theirs != map[otp.Version]int64{otp.V1: 1<<19 - 1, otp.V2: 1 << 19}[v]-all.count() {
			t.Errorf("%+v", s)
		}
	})
}
