package generate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parley"
	"parley/internal/filelock"
	"parley/secure/otp"
)

func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

func spec(dir string, size int64, sources ...string) Spec {
	s := Spec{Names: [2]string{"alice", "bob"}, Size: size, Version: otp.V2, Dir: dir}
	for _, name := range sources {
		s.Sources = append(s.Sources, Source{Name: name})
	}
	return s
}

// TestPad: the bytes are the XOR of the sources, the check their digest under the mask,
// and the mask is nowhere in the file.
func TestPad(t *testing.T) {
	for _, size := range []int64{otp.MinPad, 4095, 4096, 70_001, 2*chunk - 5, 2*chunk + 3*block + 7, 3 * chunk} {
		n := Needs(otp.V2, size)
		a, b := sound(1, int(n)+100), sound(2, int(n))
		dir := t.TempDir()
		s := spec(dir, size, write(t, a), write(t, b), Urandom)
		if size != 4096 {
			s.Sources = s.Sources[:2]
		}
		s.Sources[1].Assessed = true
		last := int64(0)
		s.Progress = func(done, total int64) {
			if done < last || done > size || total != size {
				t.Errorf("progress %d of %d after %d", done, total, last)
			}
			last = done
		}
		r, err := Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir); !slices.Equal(got, []string{"alice.bob.pad"}) || r.Files[0] != filepath.Join(dir, got[0]) || last != size {
			t.Errorf("%v, %v, progress %d", got, r.Files, last)
		}
		got, err := os.ReadFile(r.Files[0])
		if err != nil {
			t.Fatal(err)
		}
		st, _ := os.Stat(r.Files[0])
		if st.Mode().Perm() != 0o600 || int64(len(got)) != size+otp.PadHeaderSize {
			t.Errorf("mode %v, %d bytes", st.Mode(), len(got))
		}
		h, err := otp.ParsePadHeader(got)
		if err != nil || h.Owner != otp.Whole || h.Size != size || h.Split != size/2 || h.Names != s.Names || h.ID == [8]byte{} || h.Check != r.Header.Check {
			t.Fatalf("%+v, %v", h, err)
		}
		if len(h.Sources) != len(s.Sources) || h.Sources[0].Kind != "file" || h.Sources[0].Tests == "" || h.Sources[0].Assessed || !h.Sources[1].Assessed || !h.Unconditional() {
			t.Errorf("%+v", h.Sources)
		}
		if len(s.Sources) == 3 {
			continue
		}
		want := make([]byte, n)
		for i := range want {
			want[i] = a[i] ^ b[i]
		}
		if !bytes.Equal(got[otp.PadHeaderSize:], want[:size]) {
			t.Fatalf("size %d: not the XOR of the sources", size)
		}
		sum, mask := sha256.Sum256(want[:size]), want[size:]
		for i := range h.Check {
			if h.Check[i] != sum[i]^mask[i] {
				t.Fatalf("size %d: the check is not the digest under the mask", size)
			}
		}
		if bytes.Contains(got, mask[:16]) || bytes.Contains(got, sum[:16]) {
			t.Error("the mask or the digest is in the file")
		}
	}
}

func TestTwoPadsDiffer(t *testing.T) {
	var all []*otp.PadHeader
	var pads [][]byte
	for _, name := range []string{Urandom, Random} {
		r, err := Run(t.Context(), spec(t.TempDir(), 100_000, name))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(r.Files[0])
		all, pads = append(all, r.Header), append(pads, b[otp.PadHeaderSize:])
	}
	if all[0].ID == all[1].ID || all[0].Check == all[1].Check || bytes.Equal(pads[0][:64], pads[1][:64]) || all[0].Unconditional() || all[1].Unconditional() {
		t.Errorf("%+v\n%+v", all[0], all[1])
	}
}

// TestV1: the four files that the original's generator writes.
func TestV1(t *testing.T) {
	const size = 100_001
	a := sound(1, size)
	for _, c := range []struct {
		sources  []Source
		rservice string
	}{
		{[]Source{{Name: write(t, a)}}, "urandom"},
		{[]Source{{Name: write(t, a), Assessed: true}}, "random"},
		{[]Source{{Name: Urandom}}, "urandom"},
		{[]Source{{Name: Urandom}, {Name: Random}}, "random"},
	} {
		dir := t.TempDir()
		s := spec(dir, size)
		s.Version, s.Sources = otp.V1, c.sources
		if _, err := Run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		want := []string{"alice.bob.random.metadata", "alice.bob.random.store", "bob.alice.random.metadata", "bob.alice.random.store"}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Fatal(got)
		}
		one, _ := os.ReadFile(filepath.Join(dir, want[1]))
		two, _ := os.ReadFile(filepath.Join(dir, want[3]))
		if len(one) != size || !bytes.Equal(one, two) || c.sources[0].Name != Urandom && !bytes.Equal(one, a) {
			t.Error("the stores differ from each other or from the source")
		}
		for i, who := range []string{"alice", "bob"} {
			b, err := os.ReadFile(filepath.Join(dir, want[2*i]))
			if err != nil {
				t.Fatal(err)
			}
			m, err := otp.ParseMetadataV1(b)
			if err != nil {
				t.Fatal(err)
			}
			wantM := otp.NewMetadataV1(who, []string{"bob", "alice"}[i], size, c.rservice, i == 0)
			if !bytes.Equal(wantM.Marshal(), b) || m.Direction != 1-2*i || m.SplitIndex != size/2 || m.RService != c.rservice || m.StoreFilename != want[2*i+1] {
				t.Errorf("%s", b)
			}
		}
	}
}

// TestDefect8PadFromWhatIsNotRandom: the original takes whatever its source gives.
func TestDefect8PadFromWhatIsNotRandom(t *testing.T) {
	const size = 300_000
	n := int(Needs(otp.V2, size))
	late := sound(1, n)
	copy(late[n-1000:], make([]byte, 9))
	biased := sound(2, n)
	for i := range biased {
		if biased[i] < 26 {
			biased[i] = 'x' // a value with a chance of a tenth
		}
	}
	bit := sound(3, n)
	for i := range bit {
		bit[i] &= 0x0f
	}
	text := bytes.Repeat([]byte("It was a dark and stormy night; the rain fell in torrents. "), n/59+1)
	for name, c := range map[string]struct {
		b    []byte
		test string
	}{
		"stuck":           {make([]byte, n), "repetition count"},
		"stuck at ones":   {bytes.Repeat([]byte{255}, n), "repetition count"},
		"stuck late":      {late, "repetition count"},
		"biased":          {biased, "adaptive proportion"},
		"half its bits":   {bit, "adaptive proportion"},
		"a text":          {text, "adaptive proportion"},
		"two in turn":     {bytes.Repeat([]byte{0, 255}, n/2+1), "adaptive proportion"},
		"a short pattern": {bytes.Repeat([]byte("0123456789abcde"), n/15+1), "adaptive proportion"},
	} {
		for _, v := range []otp.Version{otp.V1, otp.V2} {
			for _, others := range [][]string{nil, {Urandom}} {
				dir, bad := t.TempDir(), write(t, c.b)
				s := spec(dir, size, append(others, bad)...)
				s.Version = v
				_, err := Run(t.Context(), s)
				if !errors.Is(err, ErrUnhealthy) || !strings.Contains(err.Error(), c.test) || !strings.Contains(err.Error(), bad) {
					t.Errorf("%s, version %d: %v, want %s of %s", name, v, err, c.test, bad)
				}
				if left := names(t, dir); len(left) > 0 {
					t.Errorf("%s: left behind: %v", name, left)
				}
			}
		}
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		if _, err := Run(t.Context(), spec(t.TempDir(), size, "/dev/zero")); !errors.Is(err, ErrUnhealthy) {
			t.Errorf("/dev/zero: %v", err)
		}
	}
}

func TestEqualSources(t *testing.T) {
	const size = 2*chunk + 70_000
	n := int(Needs(otp.V2, size))
	a, b := sound(1, n), sound(2, n)
	link := filepath.Join(t.TempDir(), "link")
	pathA := write(t, a)
	if err := os.Symlink(pathA, link); err != nil {
		t.Fatal(err)
	}
	part := bytes.Clone(b)
	copy(part[chunk+8*block:], a[chunk+8*block:chunk+9*block])
	xor := make([]byte, n)
	for i := range xor {
		xor[i] = a[i] ^ b[i]
	}
	for name, sources := range map[string][]string{
		"twice":                {pathA, pathA},
		"twice by a link":      {pathA, link},
		"a copy":               {pathA, write(t, a)},
		"a copy, not the next": {pathA, write(t, b), write(t, a)},
		"a block":              {pathA, write(t, part)},
		"the XOR of others":    {pathA, write(t, b), write(t, xor)},
		"random twice":         {Random, Random},
		"urandom twice":        {Urandom, Urandom},
		"random by its path":   {Random, "/dev/random"},
		"urandom by its path":  {"/dev/urandom", Urandom},
	} {
		dir := t.TempDir()
		if _, err := Run(t.Context(), spec(dir, size, sources...)); !errors.Is(err, ErrEqual) {
			t.Errorf("%s: %v", name, err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

func TestRefused(t *testing.T) {
	const size = 10_000
	good := write(t, sound(1, size+maskSize))
	fit := spec("", size, good)
	for name, c := range map[string]struct {
		change func(s *Spec)
		want   error
	}{
		"oneself":        {func(s *Spec) { s.Names[1] = s.Names[0] }, parley.ErrRefused},
		"a bad name":     {func(s *Spec) { s.Names[1] = "../bob" }, parley.ErrRefused},
		"no name":        {func(s *Spec) { s.Names[0] = "" }, parley.ErrRefused},
		"too small":      {func(s *Spec) { s.Size = otp.MinPad - 1 }, parley.ErrRefused},
		"too large":      {func(s *Spec) { s.Size = otp.MaxPad + 1 }, parley.ErrRefused},
		"too large, v1":  {func(s *Spec) { s.Version, s.Size = otp.V1, maxV1+1 }, parley.ErrRefused},
		"version":        {func(s *Spec) { s.Version = 3 }, parley.ErrRefused},
		"17 sources":     {func(s *Spec) { s.Sources = make([]Source, 17) }, parley.ErrRefused},
		"a long name":    {func(s *Spec) { s.Sources[0].Name = long(t, good) }, parley.ErrRefused},
		"no source":      {func(s *Spec) { s.Sources = nil }, ErrSource},
		"missing":        {func(s *Spec) { s.Sources[0].Name += "x" }, ErrSource},
		"a folder":       {func(s *Spec) { s.Sources[0].Name = filepath.Dir(good) }, ErrSource},
		"a short file":   {func(s *Spec) { s.Size++ }, ErrSource},
		"ends early":     {func(s *Spec) { s.Sources[0].Name = "/dev/null" }, ErrSource},
		"assessed":       {func(s *Spec) { s.Sources[0] = Source{Random, true} }, ErrSource},
		"assessed too":   {func(s *Spec) { s.Sources[0] = Source{Urandom, true} }, ErrSource},
		"assessed path":  {func(s *Spec) { s.Sources[0] = Source{"/dev/urandom", true} }, ErrSource},
		"no such folder": {func(s *Spec) { s.Dir += "/missing" }, fs.ErrNotExist},
	} {
		s := fit
		s.Dir, s.Sources = t.TempDir(), slices.Clone(fit.Sources)
		dir := s.Dir
		c.change(&s)
		if _, err := Run(t.Context(), s); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	fit.Dir = t.TempDir()
	if _, err := Run(t.Context(), fit); err != nil {
		t.Errorf("and without any of it: %v", err)
	}
}

// long returns a path to a file that is too long for a header.
func long(t *testing.T, to string) string {
	return filepath.Dir(to) + strings.Repeat("/.", otp.PadHeaderSize/2-100) + strings.Repeat("/../"+filepath.Base(filepath.Dir(to)), 5) + "/" + filepath.Base(to)
}

func TestNeverOverwrites(t *testing.T) {
	for v, files := range map[otp.Version][]string{
		otp.V2: {"alice.bob.pad"},
		otp.V1: {"alice.bob.random.store", "alice.bob.random.metadata", "bob.alice.random.store", "bob.alice.random.metadata"},
	} {
		for _, name := range files {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			s := spec(dir, 5000, Urandom)
			s.Version = v
			if _, err := Run(t.Context(), s); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: %v", name, err)
			}
			// It comes while the pad is being made.
			os.Remove(filepath.Join(dir, name))
			s.Progress = func(int64, int64) { os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600) }
			if _, err := Run(t.Context(), s); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s meanwhile: %v", name, err)
			}
			b, _ := os.ReadFile(filepath.Join(dir, name))
			if got := names(t, dir); string(b) != "mine" || len(got) != 1 {
				t.Errorf("%s: %q, %v", name, b, got)
			}
		}
	}
}

// TestConcurrentRuns: one makes the pad, the others say so.
func TestConcurrentRuns(t *testing.T) {
	dir := t.TempDir()
	results := make(chan error)
	for range 8 {
		go func() {
			_, err := Run(context.Background(), spec(dir, 3*chunk, Urandom))
			results <- err
		}()
	}
	made := 0
	for range 8 {
		switch err := <-results; {
		case err == nil:
			made++
		case !errors.Is(err, ErrUnfinished) && !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if got := names(t, dir); made != 1 || !slices.Equal(got, []string{"alice.bob.pad"}) {
		t.Errorf("%d made; %v", made, got)
	}
}

func TestInterrupted(t *testing.T) {
	for _, v := range []otp.Version{otp.V1, otp.V2} {
		dir := t.TempDir()
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		s := spec(dir, 1<<40, Urandom)
		freeSpace = func(string) (int64, bool) { return 0, false }
		t.Cleanup(func() { freeSpace = diskFree })
		s.Version = v
		seen := 0
		s.Progress = func(int64, int64) {
			if seen++; seen == 5 {
				cancel(stop)
			}
		}
		if _, err := Run(ctx, s); !errors.Is(err, stop) {
			t.Error(err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TestUnfinished: what a crash leaves is told of, and never used.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	part := filepath.Join(dir, ".alice.bob.pad.part")
	if err := os.WriteFile(part, sound(1, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Run(t.Context(), spec(dir, 5000, Urandom))
	if !errors.Is(err, ErrUnfinished) || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "remove it") {
		t.Error(err)
	}
	f, err := filelock.Open(t.Context(), part)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(t.Context(), spec(dir, 5000, Urandom))
	if !errors.Is(err, ErrUnfinished) || !strings.Contains(err.Error(), "another process") {
		t.Error(err)
	}
	f.Close()
	os.Remove(part)
	if _, err := Run(t.Context(), spec(dir, 5000, Urandom)); err != nil {
		t.Error(err)
	}
}

func TestTooLittleRoom(t *testing.T) {
	for v, need := range map[otp.Version]int64{otp.V1: 20_000, otp.V2: 10_000 + otp.PadHeaderSize} {
		dir := t.TempDir()
		s := spec(dir, 10_000, Urandom)
		s.Version = v
		freeSpace = func(string) (int64, bool) { return need - 1, true }
		if _, err := Run(t.Context(), s); !errors.Is(err, ErrSpace) {
			t.Errorf("version %d: %v", v, err)
		}
		if left := names(t, dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		freeSpace = func(string) (int64, bool) { return need, true }
		if _, err := Run(t.Context(), s); err != nil {
			t.Errorf("version %d: %v", v, err)
		}
	}
	freeSpace = diskFree
	if _, ok := diskFree(t.TempDir()); !ok {
		return
	}
	if _, err := Run(t.Context(), spec(t.TempDir(), 1<<50, Urandom)); !errors.Is(err, ErrSpace) {
		t.Errorf("a pad of a petabyte: %v", err)
	}
}
