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
// read past each other's cursor.
func openOTCOutbox(dir, server, user string) (*otcOutbox, error) {
	if dir == "" {
		state, err := stateFolder()
		if err != nil {
			return nil, usage("%w; give --state", err)
		}
		dir = filepath.Join(state, "otc")
	}
	h := sha256.Sum256([]byte(server + "\x00" + user))
	o := &otcOutbox{dir: filepath.Join(dir, hex.EncodeToString(h[:8]))}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(o.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := filelock.Try(f); err != nil {
		f.Close()
		if errors.Is(err, filelock.ErrLocked) {
			err = &ownCode{exitOwner, errors.New("another parley otc runs with this relay and this name; end it first")}
		}
		return nil, err
	}
	o.lock = f
	for _, name := range o.names() {
		var n int
		if _, err := fmt.Sscanf(name, "%d"+otcSuffix, &n); err == nil {
			o.next = max(o.next, n+1)
		}
	}
	return o, nil
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
	name := fmt.Sprintf("%012d%s", o.next, otcSuffix)
	o.next++
	return keyfile.Create(filepath.Join(o.dir, name), b)
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
