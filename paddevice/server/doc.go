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
//	pairing.json        a pairing code that was made and not used yet
//	rules.json          what is allowed without asking
//	events.log          the event log
//	nextref.json        the original's RPC: how far its clients have read at a relay
//	answered            which questions need not be asked again
//	device.lock         taken while one of these is changed
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"parley/internal/filelock"
	"parley/internal/keyfile"
)

const lockName = "device.lock"

// lock takes the lock of the folder's small files, among all processes.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := filelock.Open(ctx, filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("the lock of %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// readJSON reads a file of the folder into v, which stays as it is if there is none.
func readJSON(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	b, err := keyfile.Read(path)
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

// changeJSON reads a file, has it changed, and writes it unless change fails.
func changeJSON[T any](ctx context.Context, dir, name string, change func(*T) error) error {
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	var v T
	if err := readJSON(dir, name, &v); err != nil {
		return err
	}
	if err := change(&v); err != nil {
		return err
	}
	return writeJSON(dir, name, v)
}

func writeJSON(dir, name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return keyfile.Replace(filepath.Join(dir, name), append(b, '\n'))
}
