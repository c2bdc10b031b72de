package nes

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"parley/internal/keyfile"
	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
	"parley/secure/nes"
)

// next stands behind the names of files with keys that are about to replace others.
const next = ".next"

// Generate makes both key pairs, writes private ones as PKCS #1 and public ones as
// SPKI, which the original reads, and overwrites nothing: a file that is there is an
// error, or with force kept under its name with .old-N.
func (s *Settings) Generate(bits int, force bool) error {
	if bits < rsakey.MinBits || bits > rsakey.MaxBits || bits%8 != 0 {
		return Errorf(Usage, "the size of keys is a multiple of 8 from %d to %d bits", rsakey.MinBits, rsakey.MaxBits)
	}
	if !force {
		for _, path := range s.keyFiles() {
			if _, err := os.Lstat(path); err == nil {
				return Errorf(Files, "Cannot generate keys: %s exists. Nothing was changed; --force keeps it as %s.old-N and makes new ones", path, path)
			}
		}
	}
	message, err := rsakey.Generate(bits)
	if err != nil {
		return err
	}
	sign, err := rsakey.Generate(bits)
	if err != nil {
		return err
	}
	if err := s.writeKeys("", message, sign, force); err != nil {
		return Errorf(Files, "Cannot generate keys: %w", err)
	}
	return nil
}

// keyFiles returns the names of all four files, private ones first.
func (s *Settings) keyFiles() []string {
	return []string{s.Get(MessageFile), s.Get(SignFile), s.Get(MessagePublic), s.Get(SignPublic)}
}

func (s *Settings) writeKeys(suffix string, message, sign *rsa.PrivateKey, keep bool) error {
	files := s.keyFiles()
	if keep {
		if err := keepOld(files); err != nil {
			return err
		}
	}
	for i, data := range [][]byte{rsakey.EncodePrivate(message), rsakey.EncodePrivate(sign), rsakey.EncodePublic(&message.PublicKey), rsakey.EncodePublic(&sign.PublicKey)} {
		path := files[i] + suffix
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := keyfile.Create(path, data); err != nil {
			return err
		}
		if i >= 2 && runtime.GOOS != "windows" {
			if err := os.Chmod(path, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepOld renames files to NAME.old-N, with the first N that all of them have free.
func keepOld(files []string) error {
	n := 1
	for ; slices.ContainsFunc(files, func(f string) bool { return exists(f + ".old-" + strconv.Itoa(n)) }); n++ {
	}
	for _, f := range files {
		if !exists(f) {
			continue
		}
		if err := os.Rename(f, f+".old-"+strconv.Itoa(n)); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Own are our keys.
type Own struct {
	Message, Sign *rsa.PrivateKey
	// Open are all keys that messages to us may be sealed for: the message key, those
	// before it, and one that is about to replace it.
	Open []crypto.Decrypter
	// former are the signing keys from before rotations: for what we wrote to ourselves.
	former []*rsa.PublicKey
	// stamp changes when the files of message keys do.
	stamp string
}

// Public returns the public halves.
func (o *Own) Public() keydir.Keys {
	return keydir.Keys{Message: &o.Message.PublicKey, Sign: &o.Sign.PublicKey}
}

// signer returns the key of ours that a message from ourselves is signed with, or the
// present one.
func (o *Own) signer(s *nes.Sealed, self string) *rsa.PublicKey {
	for _, key := range o.former {
		if _, err := s.Open(self, key); err == nil {
			return key
		}
	}
	return &o.Sign.PublicKey
}

// Owns reports whether one of a pair of keys is ours, or was before a rotation.
func (o *Own) Owns(k keydir.Keys) bool {
	return k.Sign.Equal(&o.Sign.PublicKey) || slices.ContainsFunc(o.Open, func(d crypto.Decrypter) bool { return k.Message.Equal(d.Public()) })
}

// LoadKeys reads our private keys, also those that others may read: [Settings.Exposed].
func (s *Settings) LoadKeys() (*Own, error) {
	if err := s.finishInstall(); err != nil {
		return nil, Errorf(Files, "Cannot finish the last key rotation: %w", err)
	}
	o := Own{stamp: s.keyStamp()}
	var err error
	if o.Message, err = readPrivate(s.Get(MessageFile)); err == nil {
		o.Sign, err = readPrivate(s.Get(SignFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Errorf(Files, "Cannot read private key: %w (nes generate makes keys)", err)
	}
	if err != nil {
		return nil, Errorf(Files, "Cannot read private key: %w", err)
	}
	if o.Message.Equal(o.Sign) {
		return nil, Errorf(Files, "Cannot use keys: %w", keydir.ErrSameKey)
	}
	for path, key := range map[string]*rsa.PrivateKey{s.Get(MessagePublic): o.Message, s.Get(SignPublic): o.Sign} {
		if pub, err := readPublic(path); err == nil && !pub.Equal(&key.PublicKey) {
			return nil, Errorf(Files, "Cannot use keys: %s is not the public half of the private key", path)
		}
	}
	o.Open = []crypto.Decrypter{o.Message}
	for _, path := range olderFiles(s.Get(MessageFile)) {
		key, err := readPrivate(path)
		if err != nil {
			return nil, Errorf(Files, "Cannot read former private key: %w", err)
		}
		o.Open = append(o.Open, key)
	}
	for _, path := range olderFiles(s.Get(SignFile)) {
		if key, err := readPrivate(path); err == nil {
			o.former = append(o.former, &key.PublicKey)
		}
	}
	return &o, nil
}

// keyStamp tells whether the files of message keys have changed.
func (s *Settings) keyStamp() string {
	var b strings.Builder
	for _, path := range append([]string{s.Get(MessageFile)}, olderFiles(s.Get(MessageFile))...) {
		if st, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", path, st.Size(), st.ModTime().UnixNano())
		}
	}
	return b.String()
}

// install puts the new keys of a rotation in the place of the present ones, which are
// kept. The private message key is the first to go and the last to come: as long as
// it is missing, finishInstall knows what to do.
func (s *Settings) install() error {
	files := s.keyFiles()
	if err := keepOld(files); err != nil {
		return err
	}
	for _, f := range slices.Backward(files) {
		if err := os.Rename(f+next, f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// finishInstall goes on where install was interrupted.
func (s *Settings) finishInstall() error {
	files := s.keyFiles()
	if exists(files[0]) || !exists(files[0]+next) {
		return nil
	}
	for _, f := range slices.Backward(files) {
		if !exists(f + next) {
			continue
		}
		if err := keepOld([]string{f}); err != nil {
			return err
		}
		if err := os.Rename(f+next, f); err != nil {
			return err
		}
	}
	return nil
}

// olderFiles returns NAME.next and all NAME.old-N, the newest first.
func olderFiles(path string) (files []string) {
	if exists(path + next) {
		files = append(files, path+next)
	}
	list, _ := os.ReadDir(filepath.Dir(path))
	var numbers []int
	for _, e := range list {
		if text, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".old-"); ok {
			if n, err := strconv.Atoi(text); err == nil && n > 0 {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	for _, n := range slices.Backward(numbers) {
		files = append(files, path+".old-"+strconv.Itoa(n))
	}
	return files
}

// Exposed returns a warning for each of our private keys that others than the owner
// may read or change. The original takes such files, and other programs make them.
func (s *Settings) Exposed() (warnings []string) {
	if runtime.GOOS == "windows" {
		return nil
	}
	for _, private := range []string{s.Get(MessageFile), s.Get(SignFile)} {
		for _, path := range append([]string{private}, olderFiles(private)...) {
			if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 {
				warnings = append(warnings, fmt.Sprintf("WARNING: others on this computer have rights to the private key %s (mode %04o). Run: chmod 600 %s", path, st.Mode().Perm(), quote(path)))
			}
		}
	}
	return warnings
}

// quote writes a path so that a shell takes it as one word.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// Fingerprint returns the one of our keys, or [fs.ErrNotExist]. It changes nothing.
func (s *Settings) Fingerprint() (string, error) {
	message, err := readPrivate(s.Get(MessageFile))
	if err != nil {
		return "", err
	}
	sign, err := readPrivate(s.Get(SignFile))
	if err != nil {
		return "", err
	}
	return client.Fingerprint(keydir.Keys{Message: &message.PublicKey, Sign: &sign.PublicKey}).String(), nil
}

func readPrivate(path string) (*rsa.PrivateKey, error) {
	b, err := keyfile.Read(path)
	if errors.Is(err, keyfile.ErrExposed) {
		b, err = readBounded(path, keyfile.MaxSize)
	}
	if err != nil {
		return nil, err
	}
	key, err := rsakey.ParsePrivate(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func readPublic(path string) (*rsa.PublicKey, error) {
	b, err := readBounded(path, rsakey.MaxPEM)
	if err != nil {
		return nil, err
	}
	key, err := rsakey.ParsePublic(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
