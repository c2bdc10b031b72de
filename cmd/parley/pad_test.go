package main

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"parley/padstore"
	"parley/secure/otp"
)

func TestPadScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "pad"),
		Setup: func(e *testscript.Env) error {
			noise := make([]byte, 8192)
			if _, err := rand.Read(noise); err != nil {
				return err
			}
			for name, b := range map[string][]byte{"noise": noise, "copy": noise, "zeros": make([]byte, 8192), "text": []byte(strings.Repeat("a dark and stormy night. ", 400))} {
				if err := os.WriteFile(filepath.Join(e.WorkDir, name), b, 0o600); err != nil {
					return err
				}
			}
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "lines": cmdLines, "talk": cmdTalk, "lose": cmdLose, "grant": cmdGrant, "damage": cmdDamage, "hole": cmdHole, "appears": cmdAppears,
		},
	})
}

func openScriptPad(ts *testscript.TestScript, path string) *padstore.Pad {
	p, err := padstore.Open(ts.MkAbs(path), padstore.Options{Marks: filepath.Join(ts.Getenv("XDG_STATE_HOME"), "parley", "marks")})
	ts.Check(err)
	return p
}

func packScript(ts *testscript.TestScript, p *padstore.Pad) []byte {
	var id [16]byte
	rand.Read(id[:])
	packet, err := p.Package(context.Background(), id, p.Peer(), make([]byte, 100))
	ts.Check(err)
	ts.Check(p.Done(context.Background(), p.Peer(), otp.Digest(packet)))
	return packet
}

func deliver(ts *testscript.TestScript, p *padstore.Pad, packet []byte) {
	_, err := p.Unpackage(context.Background(), p.Peer(), packet)
	ts.Check(err)
	ts.Check(p.Done(context.Background(), p.Peer(), otp.Digest(packet)))
}

// talk FROM TO N: N messages of 100 bytes.
func cmdTalk(ts *testscript.TestScript, _ bool, args []string) {
	from, to := openScriptPad(ts, args[0]), openScriptPad(ts, args[1])
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	for range n {
		deliver(ts, to, packScript(ts, from))
	}
	ts.Check(from.Close())
	ts.Check(to.Close())
}

// lose FROM N: N messages that nobody gets.
func cmdLose(ts *testscript.TestScript, _ bool, args []string) {
	from := openScriptPad(ts, args[0])
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for range n {
		packScript(ts, from)
	}
	ts.Check(from.Close())
}

// grant FROM TO SIZE
func cmdGrant(ts *testscript.TestScript, _ bool, args []string) {
	from, to := openScriptPad(ts, args[0]), openScriptPad(ts, args[1])
	var n byteSize
	ts.Check(n.UnmarshalText([]byte(args[2])))
	packet, err := from.Grant(context.Background(), [16]byte{1}, int64(n))
	ts.Check(err)
	deliver(ts, to, packet)
	ts.Check(from.Close())
	ts.Check(to.Close())
}

// appears FILE: another process makes it.
func cmdAppears(ts *testscript.TestScript, _ bool, args []string) {
	again, limit := time.NewTicker(5*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		select {
		case <-again.C:
		case <-limit:
			ts.Fatalf("%s does not come", args[0])
		}
	}
}

// damage FILE AT: one byte is another.
func cmdDamage(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ts.Check(err)
	b[0] ^= 0xff
	_, err = f.WriteAt(b, at)
	ts.Check(err)
}

// hole FILE AT COUNT: zeros.
func cmdHole(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt(make([]byte, n), at)
	ts.Check(err)
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "64K": 64 << 10, "64k": 64 << 10, "1M": 1 << 20, "1G": 1 << 30, "1GiB": 1 << 30, "1gb": 1 << 30, "1T": 1 << 40, "3P": 3 << 50, "4096B": 4096,
		"4095P": 4095 << 50, "4096P": -1, "12KI": -1, "4I": -1, "": -1, "K": -1, "-1": -1, "1.5G": 3 << 29, "1E": -1, "1KK": -1, "9223372036854775808": -1, "x": -1, "1 G": -1,
	} {
		var s byteSize
		err := s.UnmarshalText([]byte(text))
		if (err != nil) != (want < 0) || want >= 0 && int64(s) != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1 MiB", 1 << 30: "1 GiB", 5 << 40: "5 TiB", 1<<62 + 1: "4096 PiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// TestMeter: the bar of a terminal, and the plain lines of a file.
func TestMeter(t *testing.T) {
	for _, tty := range []bool{true, false} {
		var b strings.Builder
		now := time.Unix(1_000_000, 0)
		m := &meter{w: &b, what: "pad", tty: tty, width: func() int { return 111 }, now: func() time.Time { return now }, begun: now, told: now}
		m.samples = []sample{{now, 0}}
		for i := range 301 { // 10 MiB/s, 3000 MiB
			m.tell(int64(i)*(10<<20), 3000<<20)
			now = now.Add(time.Second)
		}
		m.end(3000<<20, nil)
		text := b.String()
		if tty && (!strings.Contains(text, "\rpad [████████████████████░░░░░░░░░░░░░░░░░░░░]  50 %  1.5 GiB of 2.9 GiB, 10 MiB/s, 2 min 30 s left") || strings.Count(text, "\r") < 300) {
			t.Errorf("%.2000q", text)
		}
		if !tty && (strings.Count(text, "\n") != 31 || strings.ContainsAny(text, "\r█") || !strings.Contains(text, "pad: 1.5 GiB of 2.9 GiB, 10 MiB/s, 2 min 30 s left\n")) {
			t.Errorf("%.2000q", text)
		}
		if !strings.HasSuffix(text, "pad: 2.9 GiB in 5 min 1 s (10 MiB/s)\n") {
			t.Errorf("%q", text[max(0, len(text)-100):])
		}
		for _, line := range strings.Split(text, "\r") {
			if tty && len([]rune(line)) > 110 {
				t.Errorf("too wide: %q", line)
			}
		}
	}
}

func TestMeterNarrowAndFast(t *testing.T) {
	var b strings.Builder
	now := time.Unix(1_000_000, 0)
	m := &meter{w: &b, what: "pad", tty: true, width: func() int { return 30 }, now: func() time.Time { return now }, begun: now, told: now}
	m.samples = []sample{{now, 0}}
	m.tell(5, 10) // too soon
	now = now.Add(time.Second)
	m.tell(0, 10) // nothing yet
	now = now.Add(time.Second)
	m.tell(10, 10)
	for _, line := range strings.Split(b.String(), "\r") {
		if len([]rune(line)) > 29 {
			t.Errorf("too wide: %q", line)
		}
	}
	if got := durationText(49 * time.Hour); got != "2 days 1 h" {
		t.Error(got)
	}
}

func TestDrawPad(t *testing.T) {
	at := func(start, end int64, kind string) padstore.Range {
		return padstore.Range{Start: start, End: end, Kind: kind}
	}
	for name, c := range map[string]struct {
		l    padstore.Layout
		want string
	}{
		"nothing": {padstore.Layout{}, "[]"},
		"fresh":   {padstore.Layout{Size: 1000, Ranges: []padstore.Range{at(0, 500, padstore.OursLeft), at(500, 1000, padstore.TheirsLeft)}}, "[" + strings.Repeat("█", 32) + strings.Repeat("░", 32) + "]"},
		"tiny":    {padstore.Layout{Size: 4, Ranges: []padstore.Range{at(0, 1, padstore.OursBurned), at(1, 2, padstore.OursLeft), at(2, 4, padstore.TheirsLeft)}}, "[·█░░]"},
		"a crumb shows": {padstore.Layout{Size: 1 << 40, Ranges: []padstore.Range{
			at(0, 96, padstore.OursBurned), at(96, 1<<39, padstore.OursLeft), at(1<<39, 1<<40-200, padstore.TheirsLeft), at(1<<40-200, 1<<40-100, padstore.TheirsMissing), at(1<<40-100, 1<<40, padstore.TheirsLeft),
		}}, "[·" + strings.Repeat("█", 31) + strings.Repeat("░", 31) + "?]"},
		"huge": {padstore.Layout{Size: 1 << 56, Ranges: []padstore.Range{at(0, 1<<55, padstore.Unsplit), at(1<<55, 1<<56, "new kind")}}, "[" + strings.Repeat("=", 32) + strings.Repeat("!", 32) + "]"},
	} {
		if got := drawPad(c.l, false); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
	if got := drawPad(padstore.Layout{Size: 64, Ranges: []padstore.Range{at(0, 64, padstore.OursLeft)}}, true); got != "[\x1b[32m"+strings.Repeat("█", 64)+"\x1b[0m]" {
		t.Errorf("%q", got)
	}
}

func TestBothRanges(t *testing.T) {
	r := func(all ...int64) (list []padstore.Range) {
		for i := 0; i < len(all); i += 2 {
			list = append(list, padstore.Range{Start: all[i], End: all[i+1]})
		}
		return list
	}
	for _, c := range [][3][]padstore.Range{
		{r(0, 10), r(5, 20), r(5, 10)},
		{r(0, 10, 20, 30), r(5, 25), r(5, 10, 20, 25)},
		{r(0, 10), r(10, 20), nil},
		{nil, r(0, 10), nil},
		{r(0, 5, 5, 10), r(0, 10), r(0, 5, 5, 10)},
	} {
		for _, got := range [][]padstore.Range{both(c[0], c[1]), both(c[1], c[0])} {
			if len(got) != len(c[2]) {
				t.Errorf("%v and %v: %v", c[0], c[1], got)
				continue
			}
			for i := range got {
				if got[i] != c[2][i] {
					t.Errorf("%v and %v: %v", c[0], c[1], got)
				}
			}
		}
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"a/b.pad": "a/b.pad", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'"} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}
