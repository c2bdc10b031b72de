package profile

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const crashDir = "PARLEY_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, commitForever(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(lockDir); dir != "" {
		_, err := TryLock(dir)
		fmt.Println(err)
		bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// commitForever adds one note and counts once in a bucket with each commit, and
// prints the count when the commit has returned.
func commitForever(dir string) error {
	ctx := context.Background()
	p, err := Open(dir, options())
	if err != nil {
		return err
	}
	for {
		var n uint64
		err := p.Tx(ctx, func(tx *Tx) error {
			b, err := tx.Bucket(1)
			if err != nil {
				return err
			}
			if v := b.Get("n"); v != nil {
				n = binary.BigEndian.Uint64(v)
			}
			n++
			b.Put("n", binary.BigEndian.AppendUint64(nil, n))
			if err := b.Flush(); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, "INSERT INTO notes (n, text) VALUES (?, ?)", n, strings.Repeat("t", int(n%7)*1000))
			return err
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKilled kills a process in the middle of its commits: what had returned is
// there, state and rows agree, and nothing is half there.
func TestKilled(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, dir := newProfile(t)
	p.Close()
	total := uint64(0)
	for round := range rounds {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		last, until := uint64(0), 1+rand.IntN(60)
		for i := 0; lines.Scan(); i++ {
			if last, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if i == until {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		if last <= total {
			t.Fatalf("round %d: it counted to %d", round, last)
		}
		p, err := Open(dir, options())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var rows, highest uint64
		var check string
		if err := p.DB().QueryRow("SELECT count(*), max(n) FROM notes").Scan(&rows, &highest); err != nil {
			t.Fatal(err)
		}
		if err := p.DB().QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
			t.Fatal(check, err)
		}
		var n uint64
		with(t, p, 1, func(b *Bucket) { n = binary.BigEndian.Uint64(b.Get("n")) })
		if n != rows || n != highest || n < last || n > last+1 {
			t.Fatalf("round %d: %d commits returned, the state says %d, there are %d rows up to %d", round, last, n, rows, highest)
		}
		total = n
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d commits", rounds, total)
}
