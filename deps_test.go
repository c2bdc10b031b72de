package parley_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// rules says which packages of this module each package may import directly.
// Patterns are path.Match patterns relative to the module; the first that
// matches counts. A package without a rule fails: add a line, and think.
var rules = []struct {
	pkg string
	may []string
}{
	{".", nil},
	{"envelope", []string{"."}},
	{"content", []string{"."}},
	{"content/*", []string{".", "content"}},
	{"secure/nes", []string{".", "envelope", "internal/rsakey", "internal/jsonobject"}},
	{"secure/otp", []string{".", "envelope", "internal/jsonobject"}},
	{"secure/*", []string{".", "envelope"}},
	{"keydir", []string{"internal/rsakey", "internal/jsonobject"}},
	{"keydir/server", []string{"keydir", "internal/rsakey", "internal/keyfile", "internal/lru", "internal/groupdb", "internal/frontlimit", "internal/monitor"}},
	{"keydir/client", []string{"keydir", "internal/rsakey", "internal/jsonobject"}},
	{"padstore/generate", []string{".", "secure/otp", "padstore", "internal/filelock", "internal/keyfile"}},
	{"padstore", []string{".", "secure/otp", "internal/filelock", "internal/keyfile"}},
	{"broker", []string{"broker/store"}},
	{"broker/store", nil},
	{"broker/store/*", []string{"broker/store"}},
	{"carrier/*", []string{"."}},
	{"carrier/*/client", []string{".", "carrier/*"}},
	{"carrier/relay/server", []string{"carrier/relay", "internal/groupdb", "internal/frontlimit", "internal/monitor"}},
	{"carrier/*/server", []string{"carrier/*", "broker", "broker/store"}},
	{"paddevice", []string{".", "secure/otp", "internal/jsonobject"}},
	{"paddevice/client", []string{".", "secure/otp", "paddevice", "internal/keyfile"}},
	{"paddevice/server", []string{".", "secure/otp", "padstore", "paddevice", "internal/keyfile", "internal/filelock", "internal/jsonobject", "internal/term"}},
	{"cmd/parley-pad", []string{".", "secure/otp", "padstore", "paddevice", "paddevice/server", "internal/keyfile", "internal/qr", "internal/term"}},
	{"server", []string{"broker", "broker/store", "broker/store/*", "carrier/*", "carrier/*/server", "keydir/server", "internal/keyfile", "internal/filelock"}},
	{"messenger", []string{".", "content", "envelope", "messenger/profile"}},
	{"messenger/profile", []string{".", "internal/keyfile", "internal/filelock"}},
	{"messenger/remote", []string{"messenger"}},
	{"builtin", []string{".", "envelope", "messenger", "messenger/profile", "carrier/*", "carrier/*/client", "secure/*", "keydir", "keydir/client", "padstore", "paddevice/client", "internal/rsakey", "internal/words"}},
	{"parleytest", []string{".", "broker/store", "envelope", "secure/otp"}},
	{"internal/lru", nil},
	{"internal/groupdb", nil},
	{"internal/frontlimit", []string{"internal/lru"}},
	{"internal/monitor", []string{"internal/frontlimit", "internal/groupdb"}},
	{"internal/keyfile", nil},
	{"internal/filelock", nil},
	{"internal/rsakey", nil},
	{"internal/jsonobject", nil},
	{"internal/nes", []string{".", "internal/bucketfile", "internal/keyfile", "internal/filelock", "internal/rsakey", "internal/term", "secure/nes", "keydir", "keydir/client", "carrier/mqtt", "carrier/mqtt/client"}},
	{"internal/words", nil},
	{"internal/qr", nil},
	{"internal/term", nil},
	{"internal/bucketfile", []string{".", "internal/keyfile", "internal/filelock"}},
	{"internal/live", []string{".", "internal/bucketfile", "secure/stringphone"}},
	{"internal/bench", []string{"*", "*/*", "*/*/*"}},
	{"cmd/parleyd", []string{"server"}},
	{"cmd/nes", []string{"internal/nes", "internal/term"}},
	{"cmd/parley", []string{".", "builtin", "carrier/relay", "carrier/relay/client", "paddevice/client", "messenger", "messenger/*", "server", "carrier/mqtt", "carrier/mqtt/client", "secure/stringphone", "keydir", "keydir/client", "padstore", "padstore/generate", "secure/otp", "internal/*"}},
	{"examples/*", []string{".", "secure/*", "carrier/*", "carrier/*/client"}},
}

// serverSide may not reach what could decrypt, not even through others: the
// server cannot read because the code is not there.
var (
	serverSide = []string{"server", "cmd/parleyd", "broker", "broker/store", "broker/store/*", "carrier/*", "carrier/*/server", "keydir", "keydir/server"}
	endToEnd   = []string{"secure/*", "content", "content/*", "messenger", "messenger/*", "keyring", "carrier/*/client", "keydir/client", "builtin"}
)

// Pure packages get time, randomness and storage from their caller.
var (
	pure         = []string{".", "envelope", "content", "content/*", "secure/*", "keydir", "internal/rsakey", "internal/jsonobject"}
	notInPure    = []string{"net/http", "database/sql", "log", "log/slog", "os/exec", "net/rpc", "testing"}
	notImporting = []string{"net", "os", "io/fs", "log", "log/slog"} // directly
)

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestImportRules(t *testing.T) {
	for _, p := range listPackages(t) {
		rel := relative(p.ImportPath)
		i := slices.IndexFunc(rules, func(r struct {
			pkg string
			may []string
		}) bool {
			return match(r.pkg, rel)
		})
		if i < 0 {
			t.Errorf("package %s has no import rule", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if ours(imp) && !matchAny(rules[i].may, relative(imp)) {
				t.Errorf("%s may not import %s", p.ImportPath, imp)
			}
		}
	}
}

func TestServerCannotDecrypt(t *testing.T) {
	for _, p := range listPackages(t) {
		if !matchAny(serverSide, relative(p.ImportPath)) {
			continue
		}
		for _, dep := range p.Deps {
			if ours(dep) && matchAny(endToEnd, relative(dep)) {
				t.Errorf("%s reaches %s", p.ImportPath, dep)
			}
		}
	}
}

// The pad device is no messenger and reaches no relay: what is not linked into it cannot
// be made to send a pad away.
func TestPadDeviceIsNoMessenger(t *testing.T) {
	no := []string{"messenger", "messenger/*", "builtin", "content", "content/*", "carrier/*", "carrier/*/client", "carrier/*/server", "server", "keydir", "keydir/*", "paddevice/client"}
	found := false
	for _, p := range listPackages(t) {
		if relative(p.ImportPath) != "cmd/parley-pad" {
			continue
		}
		found = true
		for _, dep := range p.Deps {
			rel := relative(dep)
			if ours(dep) && (matchAny(no, rel) || match("secure/*", rel) && rel != "secure/otp") {
				t.Errorf("%s reaches %s", p.ImportPath, dep)
			}
		}
	}
	if !found {
		t.Error("there is no cmd/parley-pad")
	}
}

func TestPurePackagesReachNothing(t *testing.T) {
	for _, p := range listPackages(t) {
		if !matchAny(pure, relative(p.ImportPath)) {
			continue
		}
		for _, dep := range p.Deps {
			if slices.Contains(notInPure, dep) {
				t.Errorf("%s reaches %s", p.ImportPath, dep)
			}
		}
		for _, imp := range p.Imports {
			if slices.Contains(notImporting, imp) {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var pkgs []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func ours(imp string) bool { return imp == "parley" || strings.HasPrefix(imp, "parley/") }

func relative(imp string) string {
	if imp == "parley" {
		return "."
	}
	return strings.TrimPrefix(imp, "parley/")
}

func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}
