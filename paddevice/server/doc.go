// Package server is the pad device: it keeps a folder of pads, and packages and
// unpackages with them for clients it does not trust with a byte of pad
// (seeds/one-time-chat §6.3). Every use is allowed by a person, at the device's own
// terminal or on a page that it serves on a loopback port of its own, or by a rule that
// the owner has set on the device. What is suspicious goes to a hash-chained log.
//
// In the folder, beside the pads:
//
//	device-key.pem      the device's key of the paired channel
//	clients.json        who is paired
//	pairing.json        a pairing code that was made and not used yet; where the device is
//	rules.json          what is allowed without asking
//	events.log          the event log
//	nextref.json        the original's RPC: how far its clients have read at a relay
//	answered            for which client a packet was allowed that is not done
//	device.lock         taken while one of these is changed
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"parley/internal/filelock"
	"parley/internal/keyfile"
)

const lockName = "device.lock"

// ErrFolder means that the folder of pads, or that of marks, is not fit for a device.
var ErrFolder = errors.New("the folder of a pad device")

// lock takes the lock of the folder's small files, among all processes.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := filelock.Open(ctx, filepath.Join(dir, lockName))
	switch {
	case err == nil:
		return func() { f.Close() }, nil
	case errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w cannot be written, and a device must write down what it uses: have the disk writable, and the folder yours: %w", ErrFolder, err)
	case errors.Is(err, filelock.ErrLocked):
		return nil, fmt.Errorf("%w is in use: another parley-pad has its lock and does not give it back: %s", ErrFolder, dir)
	}
	return nil, fmt.Errorf("%w: its lock: %w", ErrFolder, err)
}

// files are those that decide what the device does.
var files = []string{keyName, clientsName, pairingName, rulesName, logName, nextRefName, answeredName, lockName}

// fit reports what is wrong with the folders: who else can write to them can set rules,
// pair clients, or put an old copy in place.
func fit(dir, marks string) error {
	for _, folder := range []string{dir, marks} {
		st, err := os.Stat(folder)
		if errors.Is(err, fs.ErrNotExist) && folder == marks {
			continue // made when it is needed
		}
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return fmt.Errorf("%w: %s is not a folder", ErrConfig, folder)
		}
		if err := ours(folder, st, "700"); err != nil {
			return err
		}
	}
	for _, name := range files {
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = ours(path, st, "600")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readJSON reads a file of the folder into v, which stays as it is if there is none.
func readJSON(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	st, err := os.Stat(path)
	if err == nil {
		err = ours(path, st, "600")
	}
	var b []byte
	if err == nil {
		b, err = keyfile.Read(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s is damaged: put a copy in its place, or remove it: %w", path, keyfile.ErrFormat)
	}
	return nil
}

// changeJSON reads a file, has it changed, and writes it unless change fails. With an
// entry, that is in the log before the file is written: what was done is never without
// its line, and a line of what then failed is followed by one that says so.
func changeJSON[T any](ctx context.Context, dir, name string, change func(*T) (*Log, *Entry, error)) error {
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	var v T
	if err := readJSON(dir, name, &v); err != nil {
		return err
	}
	l, e, err := change(&v)
	if err != nil {
		return err
	}
	return recorded(l, e, func() error { return writeJSON(dir, name, v) })
}

// recorded does what an entry says when the entry is in the log. e may be nil. The caller
// has the lock.
func recorded(l *Log, e *Entry, do func() error) error {
	if e == nil {
		return do()
	}
	if err := l.record(*e); err != nil {
		return err
	}
	err := do()
	if err != nil {
		not := *e
		not.Text = "was NOT done: " + not.Text
		err = errors.Join(err, l.record(not))
	}
	return err
}

func writeJSON(dir, name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return keyfile.Replace(filepath.Join(dir, name), append(b, '\n'))
}
