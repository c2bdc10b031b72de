package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	otcrelay "parley/carrier/relay"
	"parley/internal/filelock"
	"parley/internal/keyfile"
)

// An otcOutbox is a folder of packages that no relay has yet, a file each, for one user
// at one relay. They are sealed: who reads them learns who was written to and how much.
type otcOutbox struct {
	dir  string
	lock *os.File
	next int
}

type otcPackage struct {
	To       string `json:"to"`
	Contents string `json:"contents"` // base64
}

type otcKept struct {
	otcPackage
	name string
}

const otcSuffix = ".package"

// stateFolder is parley in the user's folder for state (XDG Base Directory).
func stateFolder() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "parley"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for state: %w", err)
	}
	return filepath.Join(home, ".local", "state", "parley"), nil
}

// openOTCOutbox makes the folder if need be and locks it: two clients of one user would
// read past each other's cursor. names are the relay's spellings: the folder is found by
// the first, and what waits in those of the others is taken over.
func openOTCOutbox(dir string, names []string, user string) (*otcOutbox, error) {
	if dir == "" {
		state, err := stateFolder()
		if err != nil {
			return nil, usage("%w; give --state", err)
		}
		dir = filepath.Join(state, "otc")
	}
	folder := func(name string) string {
		h := sha256.Sum256([]byte(name + "\x00" + user))
		return filepath.Join(dir, hex.EncodeToString(h[:8]))
	}
	o := &otcOutbox{dir: folder(names[0])}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, err
	}
	if err := o.hold(); err != nil {
		return nil, err
	}
	for _, name := range o.names() {
		var n int
		if _, err := fmt.Sscanf(name, "%d"+otcSuffix, &n); err == nil {
			o.next = max(o.next, n+1)
		}
	}
	var old []string
	for _, name := range names[1:] {
		if d := folder(name); isFolder(d) {
			old = append(old, d)
		}
	}
	if err := o.takeOver(old); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// hold locks the folder, and removes what a run that was killed has left half-written.
func (o *otcOutbox) hold() error {
	f, err := os.OpenFile(filepath.Join(o.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := filelock.Try(f); err != nil {
		f.Close()
		if errors.Is(err, filelock.ErrLocked) {
			err = &ownCode{exitOwner, errors.New("another parley otc runs with this relay and this name; end it first")}
		}
		return err
	}
	if err := keyfile.RemoveUnfinished(o.dir); err != nil {
		f.Close()
		return err
	}
	o.lock = f
	return nil
}

func isFolder(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}

// takeOver moves packages from other folders behind those that are here, oldest first.
func (o *otcOutbox) takeOver(folders []string) error {
	type kept struct {
		path string
		made time.Time
	}
	var all []kept
	for _, dir := range folders {
		from := &otcOutbox{dir: dir}
		if err := from.hold(); err != nil {
			return err
		}
		defer from.close()
		var last time.Time
		for _, name := range from.names() {
			st, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if st.ModTime().After(last) { // within one folder the numbers count
				last = st.ModTime()
			}
			all = append(all, kept{filepath.Join(dir, name), last})
		}
	}
	slices.SortStableFunc(all, func(a, b kept) int { return a.made.Compare(b.made) })
	for _, k := range all {
		if err := os.Rename(k.path, filepath.Join(o.dir, o.newName())); err != nil {
			return err
		}
	}
	return nil
}

// newName is the name of the next package.
func (o *otcOutbox) newName() string {
	o.next++
	return fmt.Sprintf("%012d%s", o.next-1, otcSuffix)
}

func (o *otcOutbox) close() { o.lock.Close() }

// names lists the packages, oldest first.
func (o *otcOutbox) names() (all []string) {
	entries, _ := os.ReadDir(o.dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), otcSuffix) && e.Type().IsRegular() {
			all = append(all, e.Name())
		}
	}
	slices.Sort(all)
	return all
}

func (o *otcOutbox) count() int { return len(o.names()) }

// add keeps a package; it is on disk when it returns.
func (o *otcOutbox) add(p otcPackage) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return keyfile.Create(filepath.Join(o.dir, o.newName()), b)
}

// all reads what is kept, oldest first. What is damaged is left where it is.
func (o *otcOutbox) all() (kept []otcKept) {
	for _, name := range o.names() {
		b, err := os.ReadFile(filepath.Join(o.dir, name))
		if err != nil {
			continue
		}
		k := otcKept{name: name}
		if json.Unmarshal(b, &k.otcPackage) != nil || otcrelay.CheckUID(k.To) != nil {
			continue
		}
		if _, ok := otcrelay.Decode(k.Contents); !ok {
			continue
		}
		kept = append(kept, k)
	}
	return kept
}

func (o *otcOutbox) remove(k otcKept) error { return os.Remove(filepath.Join(o.dir, k.name)) }
