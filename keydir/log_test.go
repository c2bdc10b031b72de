package keydir_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

func chain(t testing.TB) (lines [][]byte) {
	_, _, k := who("alice")
	var head keydir.Head
	for i, action := range []string{keydir.Published, keydir.Rotated, keydir.Removed} {
		e := keydir.Entry{Seq: int64(i + 1), Time: at.UnixMilli(), Action: action, Name: keydir.NameHash("alice"), Version: int64(i + 1), Prev: head.Hash}
		if i == 0 {
			e.Prev = keydir.NoHash
		}
		if action != keydir.Removed {
			e.MessageKey, e.SignKey = rsakey.Of(k.Message).Hex(), rsakey.Of(k.Sign).Hex()
		}
		line := e.Line()
		h, got, err := head.Extend(line)
		if err != nil || got != e || h.Size != e.Seq || h.Hash != keydir.Hash(line) {
			t.Fatalf("%+v, %+v, %v", h, got, err)
		}
		head, lines = h, append(lines, line)
	}
	return lines
}

// No entry can be left out, doubled, changed or put elsewhere.
func TestExtend(t *testing.T) {
	lines := chain(t)
	first, _, err := keydir.Head{}.Extend(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string]struct {
		head keydir.Head
		line []byte
	}{
		"left out":        {keydir.Head{}, lines[1]},
		"doubled":         {first, lines[0]},
		"skipped":         {first, lines[2]},
		"of another log":  {keydir.Head{Size: 1, Hash: keydir.Hash([]byte("x"))}, lines[1]},
		"another number":  {first, bytes.Replace(lines[1], []byte(`"seq":2`), []byte(`"seq":3`), 1)},
		"changed before":  {keydir.Head{Size: 1, Hash: keydir.Hash(bytes.Replace(lines[0], []byte(`"key_version":1`), []byte(`"key_version":2`), 1))}, lines[1]},
		"not a line":      {first, []byte("x")},
		"a number behind": {first, append(bytes.Clone(lines[1]), '1')},
	} {
		h, _, err := x.head.Extend(x.line)
		if !errors.Is(err, keydir.ErrLog) || h.Size != x.head.Size {
			t.Errorf("%s: %+v, %v", what, h, err)
		}
	}
}

func TestParseEntry(t *testing.T) {
	line := string(chain(t)[0])
	for what, bad := range map[string]string{
		"unknown action":       strings.Replace(line, "published", "approved", 1),
		"removed with keys":    strings.Replace(line, "published", "removed", 1),
		"published without":    strings.Replace(string(chain(t)[2]), "removed", "published", 1),
		"seq 0":                strings.Replace(line, `"seq":1`, `"seq":0`, 1),
		"no version":           strings.Replace(line, `"key_version":1,`, ``, 1),
		"twice":                strings.Replace(line, `"seq":1`, `"seq":1,"seq":1`, 1),
		"a name, not its hash": strings.Replace(line, keydir.NameHash("alice"), "alice", 1),
		"too long":             line + strings.Repeat(" ", keydir.MaxEntry),
		"prev missing":         strings.Replace(line, `"prev"`, `"Prev"`, 1),
	} {
		if e, err := keydir.ParseEntry([]byte(bad)); !errors.Is(err, keydir.ErrLog) {
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
	if len(line) > keydir.MaxEntry {
		t.Errorf("an entry is %d bytes long", len(line))
	}
}

func TestHead(t *testing.T) {
	pub := &provider().PublicKey
	h := keydir.Head{Size: 2, Hash: keydir.Hash([]byte("x")), Time: at.UnixMilli()}
	sign := func(h keydir.Head) []byte {
		b, err := h.Sign(provider())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got, err := keydir.ParseHead(sign(h), pub, at); err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := keydir.ParseHead(sign(keydir.Head{Hash: keydir.NoHash, Time: at.UnixMilli()}), pub, at); err != nil {
		t.Error(err)
	}
	for what, x := range map[string]struct {
		body []byte
		now  time.Time
		want error
	}{
		"changed":           {bytes.Replace(sign(h), []byte(`"log_size":2`), []byte(`"log_size":1`), 1), at, keydir.ErrForged},
		"old":               {sign(h), at.Add(25 * time.Hour), keydir.ErrExpired},
		"of later":          {sign(h), at.Add(-keydir.Skew - time.Second), keydir.ErrExpired},
		"empty with a hash": {sign(keydir.Head{Hash: h.Hash, Time: h.Time}), at, keydir.ErrMalformed},
		"full without":      {sign(keydir.Head{Size: 1, Hash: keydir.NoHash, Time: h.Time}), at, keydir.ErrMalformed},
		"negative":          {sign(keydir.Head{Size: -1, Hash: h.Hash, Time: h.Time}), at, keydir.ErrMalformed},
		"an answer":         {func() []byte { a := sample(); b, _ := a.Sign(provider()); return b }(), at, keydir.ErrMalformed},
	} {
		if got, err := keydir.ParseHead(x.body, pub, x.now); !errors.Is(err, x.want) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, line := range chain(f) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := keydir.ParseEntry(line)
		if err != nil {
			if !errors.Is(err, keydir.ErrLog) {
				t.Error(err)
			}
			return
		}
		// What is read is what is written, whatever else the line had.
		if again, err := keydir.ParseEntry(e.Line()); err != nil || again != e {
			t.Errorf("%q: %+v, %+v, %v", line, e, again, err)
		}
	})
}
