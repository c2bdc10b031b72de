package server

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley"
	"parley/paddevice"
	"parley/padstore"
	"parley/secure/otp"
)

// TestDefect3 by way of the device: forged packages change no file but the log, which
// stays short, and a drop is noticed afterwards.
func TestDefect3ForgedPackages(t *testing.T) {
	n := 2000
	if testing.Short() {
		n = 200
	}
	w := newWorld(t)
	pad := randomBytes(5, 20_000)
	w.v1("bob", "alice", pad, false)
	w.start(Options{AllowAll: true})
	seal := func(at int64, msg string) string {
		packet, err := otp.SealV1(at, []byte(msg), pad[at:at+otp.UseV1(len(msg))])
		check(t, err)
		return b64(packet)
	}
	if got := w.call("unpackage", "alice", "bob", seal(0, "one")); !strings.Contains(got, `"message":"one"`) {
		t.Fatal(got)
	}
	files := func() string {
		return w.read("bob.alice.random.journal") + w.read(otp.MetadataNameV1("bob", "alice")) + w.read(otp.StoreNameV1("bob", "alice"))
	}
	before := files()
	forged := make([]byte, 60)
	for i := range n {
		forged[0], forged[1], forged[20] = byte(i), byte(i>>8), byte(i)
		if got := w.call("unpackage", "alice", "bob", b64(forged)); !strings.Contains(got, "Decryption failed.") {
			t.Fatal(got)
		}
	}
	if files() != before {
		t.Error("forged packages have changed the pad's files")
	}
	if lines := strings.Count(w.read(logName), "\n"); lines > 20 {
		t.Errorf("%d lines in the log", lines)
	}
	if got := w.call("unpackage", "alice", "bob", seal(200, "three")); !strings.Contains(got, `"skip_detected":true`) {
		t.Errorf("the drop goes unnoticed: %s", got)
	}
}

// TestDefect4: what is refused uses no pad.
func TestDefect4RefusedUsesNoPad(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 500), true)
	w.start(Options{AllowAll: true})
	w.call("package", "alice", "bob", strings.Repeat("x", 400))
	w.call("package", "alice", "zed", "x")
	w.post(`{"method":"package","args":["alice","bob",7],"kwargs":{}}`)
	w.stop()
	m, err := otp.ParseMetadataV1([]byte(w.read(otp.MetadataNameV1("alice", "bob"))))
	if err != nil || m.EncryptIndex != 0 {
		t.Error(m.EncryptIndex, err)
	}
}

// TestDefect5: nothing of a message or a pad is in anything that the device prints,
// writes beside the pads, or answers where it should not.
func TestDefect5NothingPrinted(t *testing.T) {
	w := newWorld(t)
	pad := randomBytes(6, 100_000)
	w.v1("alice", "bob", pad, true)
	w.v1("bob", "alice", pad, false)
	w.v2("carol", "dave", pad, 0)
	w.v2("dave", "carol", pad, 1)
	w.start(Options{Paired: "127.0.0.1:0", Listen: "127.0.0.1:0", Timeout: time.Hour})
	const secret = "the-plain-text-of-this-message"
	done := make(chan string, 1)
	call := func(yes bool, method string, args ...any) string {
		go func() { done <- w.call(method, args...) }()
		w.answer(yes)
		return <-done
	}
	call(false, "package", "alice", "bob", secret)
	var packed struct{ Return paddevice.Packaged }
	check(t, json.Unmarshal([]byte(call(true, "package", "alice", "bob", secret)), &packed))
	answers := call(true, "unpackage", "bob", "alice", b64(make([]byte, 100)))
	if got := call(true, "unpackage", "alice", "bob", packed.Return.Package); !strings.Contains(got, secret) {
		t.Fatal(got)
	}
	answers += call(true, "unpackage", "alice", "bob", packed.Return.Package) // a replay
	answers += w.call("package", "alice", "bob", strings.Repeat(secret, 5000))
	answers += w.call("package", "alice", "zed", secret)
	carol := w.paired("laptop", "carol")
	go func() {
		_, err := carol.Package(t.Context(), [16]byte{1}, "dave", []byte(secret))
		done <- errText(err)
	}()
	w.answer(true)
	answers += <-done
	_, err := carol.Package(t.Context(), [16]byte{1}, "dave", []byte(secret+"2")) // the same id
	answers += errText(err)
	w.stop()
	seen := w.out.String() + answers
	check(t, filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		name := e.Name()
		if e.IsDir() || strings.HasSuffix(name, ".store") || strings.HasSuffix(name, ".pad") || strings.HasSuffix(name, ".journal") {
			return err // the pads themselves, and padstore's own
		}
		seen += w.read(name)
		return err
	}))
	check(t, filepath.WalkDir(w.marks, func(path string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			b, err := os.ReadFile(path)
			check(t, err)
			seen += string(b)
		}
		return err
	}))
	packet := packed.Return.Package
	for name, s := range map[string]string{
		"plaintext": secret, "half of it": secret[:12], "plaintext in base64": b64([]byte(secret))[:20], "plaintext in hex": hex.EncodeToString([]byte(secret)),
		"a package": packet[:20],
	} {
		if strings.Contains(seen, s) {
			t.Errorf("%s is somewhere", name)
		}
	}
	for at := 0; at+8 <= len(pad); at += 4 {
		for _, form := range []string{string(pad[at : at+8]), hex.EncodeToString(pad[at : at+8])} {
			if strings.Contains(seen, form) {
				t.Fatalf("pad at %d is somewhere", at)
			}
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRules(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	dir := w.dir
	l, err := OpenLog(dir, w.marks, nil, nil)
	check(t, err)
	defer l.Close()
	for name, r := range map[string]Rule{
		"no op": {Self: "alice", Peer: "bob"}, "grant": {Self: "alice", Peer: "bob", Op: OpGrant}, "no peer": {Self: "alice", Op: OpPackage},
		"no self": {Peer: "bob", Op: OpPackage}, "less than nothing": {Self: "alice", Peer: "bob", Op: OpPackage, UpTo: -1},
	} {
		if err := Allow(ctx, l, r); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	check(t, Allow(ctx, l, Rule{Self: "alice", Peer: "bob", Op: OpPackage, UpTo: 1024}))
	check(t, Allow(ctx, l, Rule{Self: "alice", Peer: "carol", Op: OpUnpackage, UpTo: 10, Until: time.Now().Add(time.Hour)}))
	check(t, Allow(ctx, l, Rule{Self: "alice", Peer: "dave", Op: OpPackage, UpTo: 10, Until: time.Now().Add(-time.Hour)}))
	for _, c := range []struct {
		self, peer parley.Name
		op         string
		size       int64
		want       bool
	}{
		{"alice", "bob", OpPackage, 1024, true}, {"alice", "bob", OpPackage, 1025, false}, {"alice", "bob", OpUnpackage, 1, false}, {"alice", "Bob", OpPackage, 1, false},
		{"alice", "carol", OpUnpackage, 10, true}, {"alice", "carol", OpPackage, 1, false}, {"alice", "dave", OpPackage, 1, false}, {"alice", "bob", OpGrant, 1, false},
		{"eve", "bob", OpPackage, 1, false}, {"", "bob", OpPackage, 1, false},
	} {
		if got, err := allowed(dir, Question{Op: c.op, Self: c.self, Peer: c.peer, Message: c.size}); got != c.want || err != nil {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if err := Forbid(ctx, l, "eve", "bob", ""); !errors.Is(err, ErrNoRule) {
		t.Error(err)
	}
	check(t, Forbid(ctx, l, "", "bob", ""))
	if err := Forbid(ctx, l, "", "bob", ""); !errors.Is(err, ErrNoRule) {
		t.Error(err)
	}
	if err := Forbid(ctx, l, "alice", "carol", OpPackage); !errors.Is(err, ErrNoRule) {
		t.Error(err)
	}
	if all, err := Rules(dir); err != nil || len(all) != 1 || all[0].Peer != "carol" {
		t.Error(all, err)
	}
	w.file(rulesName, []byte(`[{"peer":"carol","op":"unpackage","up_to":10}]`)) // for nobody's pad
	if yes, err := allowed(dir, Question{Op: OpUnpackage, Self: "alice", Peer: "carol", Message: 1}); yes || err != nil {
		t.Error("a rule without its person allows", yes, err)
	}
	w.file(rulesName, []byte("{"))
	if yes, err := allowed(dir, Question{Op: OpUnpackage, Self: "alice", Peer: "carol", Message: 1}); yes || err == nil {
		t.Error("rules that cannot be read allow something")
	}
}

// A rule is in force while the device runs, and no longer; its use is in the log.
func TestRulesServed(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 5000), true)
	w.v1("eve", "bob", randomBytes(2, 5000), true)
	w.start(Options{})
	l := w.s.dev.log
	check(t, Allow(t.Context(), l, Rule{Self: "alice", Peer: "bob", Op: OpPackage, UpTo: 4}))
	if got := w.call("package", "alice", "bob", "four"); !strings.Contains(got, `"success":true`) {
		t.Error(got)
	}
	if k := w.kinds(); !slices.Contains(k, KindRuled) {
		t.Errorf("what a rule has allowed is not in the log: %v", k)
	}
	done := make(chan string, 1)
	denied := func(self, msg string) {
		t.Helper()
		go func() { done <- w.call("package", self, "bob", msg) }()
		w.answer(false)
		<-done
	}
	denied("eve", "four")
	for range 2 {
		denied("alice", "fiver")
		if err := Forbid(t.Context(), l, "alice", "bob", ""); err == nil {
			denied("alice", "four")
		}
	}
}

// fakePads is a folder with one pad that answers as it is told.
type fakePads struct {
	Pad
	err error
}

func (f fakePads) Find(_, _ parley.Name) (Pad, error) { return f, f.err }
func (f fakePads) All() []Pad                         { return nil }
func (f fakePads) Close() error                       { return nil }
func (f fakePads) Version() otp.Version               { return otp.V2 }
func (f fakePads) Need(m int) int64                   { return otp.Use(m) }
func (f fakePads) Again(context.Context, [16]byte, []byte) ([]byte, bool, error) {
	return nil, false, nil
}
func (f fakePads) Status(context.Context, parley.Name) (otp.Status, error) {
	return otp.Status{Left: 1 << 20, Largest: 1 << 19}, nil
}

// A time-out denies, uses no pad, and is in the log.
func TestTimeoutDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, marks := t.TempDir(), t.TempDir()
		l, err := OpenLog(dir, marks, nil, nil)
		check(t, err)
		a, err := openAnswered(t.Context(), dir)
		check(t, err)
		d := &device{dir: dir, pads: fakePads{}, confirm: NewConfirm(time.Minute, nil), log: l, answered: a, say: func(string, ...any) {}}
		begin := time.Now()
		if _, err := d.packaged(t.Context(), &job{client: "x", self: "alice", peer: "bob", id: &[16]byte{1}}); !errors.Is(err, parley.ErrDenied) {
			t.Error(err) // fakePads.Package would have panicked
		}
		if time.Since(begin) != time.Minute {
			t.Error(time.Since(begin))
		}
		check(t, l.Close())
		check(t, a.Close())
		if all, err := logged(t, dir, marks); err != nil || len(all) != 1 || all[0].Kind != KindTimeout {
			t.Error(all, err)
		}
	})
}

// What a pad tells that no client should hear stays on the device.
func TestErrorsKept(t *testing.T) {
	w := newWorld(t)
	inner := errors.New("disk /dev/secret is full")
	w.start(Options{Paired: "127.0.0.1:0", Listen: "127.0.0.1:0", AllowAll: true, open: func(string, padstore.Options) (Pads, error) { return fakePads{err: inner}, nil }})
	c := w.paired("laptop", "alice")
	if _, err := c.Status(t.Context(), "bob"); err == nil || strings.Contains(err.Error(), "secret") || !errors.Is(err, parley.ErrOffline) {
		t.Error(err)
	}
	if got := w.call("package", "alice", "bob", "x"); object(t, got) != `{"return":{"error":"Encryption failed.","success":false}}` {
		t.Error(got)
	}
}

func TestAnswered(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	a, err := openAnswered(ctx, dir)
	check(t, err)
	b, err := openAnswered(ctx, dir) // another process
	check(t, err)
	key, one, two := packetKey("alice", "bob", [32]byte{1}), strings.Repeat("1", 32), strings.Repeat("2", 32)
	owners := func(x *answered, want ...string) {
		t.Helper()
		if got, err := x.owners(ctx, key); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	if key == packetKey("alic", "ebob", [32]byte{1}) || key == packetKey("bob", "alice", [32]byte{1}) {
		t.Error("not told apart")
	}
	owners(a)
	check(t, a.add(ctx, key, one))
	check(t, a.add(ctx, key, one))
	check(t, b.add(ctx, key, two))
	owners(b, one, two)
	check(t, b.drop(ctx, key, one))
	owners(a, two)
	c, err := openAnswered(ctx, dir) // writes the file anew under the other two
	check(t, err)
	for _, x := range []*answered{a, b, c} {
		owners(x, two)
	}
	f, err := os.OpenFile(filepath.Join(dir, answeredName), os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	f.WriteString("+ " + key + " 11") // torn
	f.Close()
	check(t, c.Close())
	c, err = openAnswered(ctx, dir)
	check(t, err)
	check(t, c.add(ctx, key, one))
	owners(a, two, one)
	check(t, b.drop(ctx, key, two, one, two))
	owners(a)
	// What is done is left out when it is most of the file.
	for i := range slack/50 + 10 {
		check(t, c.with(ctx, func() error { return c.write(string("+-"[i%2]), key, one) }))
	}
	check(t, c.add(ctx, key, two))
	check(t, c.drop(ctx, key, two))
	if st, err := os.Stat(filepath.Join(dir, answeredName)); err != nil || st.Size() > 1000 {
		t.Error(st.Size(), err)
	}
	for _, x := range []*answered{a, b, c} {
		check(t, x.Close())
	}
}
