package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"parley"
	"parley/builtin"
	"parley/messenger"
	"parley/messenger/profile"
)

// errProfile is the kind of all trouble with a profile's folder and files.
var errProfile = errors.New("the profile cannot be used")

var (
	profileErrors = []error{
		errProfile, profile.ErrNone, profile.ErrExists, profile.ErrDamaged, profile.ErrNewer, profile.ErrTampered, messenger.ErrNoSettings,
	}
	passphraseErrors = []error{profile.ErrPassphrase, profile.ErrKeyring}
)

func profileExists(dir string) error {
	if dir == "" {
		_, err := defaultProfile()
		return err
	}
	if !profile.Exists(dir) {
		return fmt.Errorf("%s: %w: make one with “parley init --name NAME”, or name another with --profile", dir, profile.ErrNone)
	}
	return nil
}

func profileFree(dir string) error {
	if dir == "" {
		_, err := defaultProfile()
		return err
	}
	if profile.Exists(dir) {
		return fmt.Errorf("%s: %w: nothing was changed; choose another folder with --profile", dir, profile.ErrExists)
	}
	return nil
}

func needsPassphrase(dir string) (bool, error) {
	need, err := profile.NeedsPassphrase(dir)
	return need, ofProfile(err)
}

func socketPath(dir string) (string, error) {
	path, err := profile.SocketPath(dir)
	return path, ofProfile(err)
}

// ofProfile gives an error that has no kind of its own that of profiles.
func ofProfile(err error) error {
	if err == nil || exitCode(err) != exitUnexpected || errors.Is(err, context.Canceled) {
		return err
	}
	return &kindError{errProfile, err}
}

// lockFree reports whether nobody owns the profile right now.
func lockFree(dir string) (bool, error) {
	l, err := profile.TryLock(dir)
	if errors.Is(err, profile.ErrOwned) {
		return false, nil
	}
	if err != nil {
		return false, ofProfile(err)
	}
	return true, l.Release()
}

func (s *secret) profile() profile.Secret {
	if s.keyring {
		return profile.Keyring()
	}
	return profile.Passphrase(s.text)
}

// open makes this process the owner of the profile.
func open(ctx context.Context, dir string, s *secret) (*owned, error) {
	p, err := profile.Open(dir, profile.Options{Secret: s.profile(), Migrations: messenger.Migrations})
	if errors.Is(err, profile.ErrOwned) {
		return nil, fmt.Errorf("%w: %w", errHeld, err)
	}
	if err != nil {
		return nil, ofProfile(err)
	}
	m, err := builtin.Open(p, builtin.Options{})
	if errors.Is(err, messenger.ErrNoSettings) {
		err = fmt.Errorf("%w: its making was interrupted; remove %s and run “parley init” again", err, dir)
	}
	if err != nil {
		return nil, ofProfile(errors.Join(err, p.Close()))
	}
	return &owned{api: m, unlock: p.Close}, nil
}

// create makes a profile, whole or not at all.
func create(ctx context.Context, dir, name string, relays []string, s *secret) error {
	settings := messenger.Settings{Name: name}
	for _, r := range relays {
		if err := checkRelay(r); err != nil {
			return err
		}
		settings.Relays = append(settings.Relays, parley.Address(r))
	}
	_, statErr := os.Lstat(dir)
	p, err := profile.Create(dir, profile.Options{Secret: s.profile(), Migrations: messenger.Migrations})
	if err != nil {
		return ofProfile(err)
	}
	err = messenger.SaveSettings(ctx, p, settings)
	if closeErr := p.Close(); err == nil {
		return ofProfile(closeErr)
	}
	// The files are ours, a moment old, and hold nothing.
	for _, f := range []string{"profile.json", "profile.db", "lock"} {
		os.Remove(filepath.Join(dir, f))
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		os.Remove(dir)
	}
	if errors.Is(err, messenger.ErrState) {
		return usage("%w", err)
	}
	return ofProfile(err)
}

// checkRelay finds the mistakes in a relay's address that can be seen without
// asking it.
func checkRelay(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return usage("relay %q is not an address like smp2020://KEYHASH@HOST:PORT", address)
	case builtin.Registry(nil, nil, nil, nil).Carriers[u.Scheme] == nil:
		return usage("relay %q: this build has no carrier for %q addresses (smp2020://KEYHASH@HOST:PORT)", address, u.Scheme)
	case u.Host == "" || !strings.HasSuffix(u.Scheme, "-plain") && u.User.Username() == "":
		return usage("relay %q is not complete: smp2020://KEYHASH@HOST:PORT, as parleyd prints it", address)
	}
	return nil
}

// changeSecret opens the profile with one secret and closes it with another.
func changeSecret(dir string, old, to *secret) error {
	p, err := profile.Open(dir, profile.Options{Secret: old.profile(), Migrations: messenger.Migrations})
	if errors.Is(err, profile.ErrOwned) {
		return fmt.Errorf("%w: %v; end it first", messenger.ErrState, err)
	}
	if err != nil {
		return ofProfile(err)
	}
	return ofProfile(errors.Join(p.ChangePassphrase(to.profile()), p.Close()))
}
