package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"parley/internal/keyfile"
	"parley/internal/words"
	"parley/secure/stringphone"
)

// maxKeyFile is more than one line of base64 needs, in bytes.
const maxKeyFile = 4 << 10

// readKey reads a secret key: one line of base64, 32 bytes. Scripts make such
// files, so one that others can read is only a warning.
func readKey(a *app, what, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage("%s: %w", what, err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		a.note("Others can read %s: %s. If nobody has copied it, run: chmod 600 %s", what, path, path)
	}
	return parseKeyFile(what, path, f)
}

func parseKeyFile(what, path string, in io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxKeyFile+1))
	if err != nil {
		return nil, usage("%s: %w", what, err)
	}
	if len(b) > maxKeyFile {
		return nil, usage("%s: %s is longer than one line of base64", what, path)
	}
	key, err := parseKey(string(b))
	if err != nil {
		return nil, usage("%s: %s: %w", what, path, err)
	}
	return key, nil
}

// parseKey reads 32 bytes of standard base64. The error shows nothing of them.
func parseKey(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("more than one line")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("not standard base64")
	}
	if len(b) != stringphone.KeySize {
		return nil, fmt.Errorf("%d bytes, a key has %d", len(b), stringphone.KeySize)
	}
	return b, nil
}

// publicKeys reads the values of --trust and --pin: base64, or @ and a file.
func publicKeys(flag string, values []string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, v := range values {
		key, err := publicKey(flag, v)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func publicKey(flag, value string) (ed25519.PublicKey, error) {
	if path, ok := strings.CutPrefix(value, "@"); ok {
		f, err := os.Open(path)
		if err != nil {
			return nil, usage("%s: %w", flag, err)
		}
		defer f.Close()
		return parseKeyFile(flag, path, f)
	}
	key, err := parseKey(value)
	if err != nil {
		return nil, usage("%s: a public key is one line of standard base64, or @FILE: %w", flag, err)
	}
	return key, nil
}

// keyLine is what a key file holds.
func keyLine(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// createKey writes a new key file of mode 0600 and touches none that is there.
func createKey(what, path string, key []byte) error {
	err := keyfile.CreateLine(path, keyLine(key))
	if errors.Is(err, fs.ErrExist) {
		return usage("%s: %s is there already, and nothing was changed: name another file", what, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// loadOrMake reads a key file, or makes it when it is missing.
func loadOrMake(a *app, what, path string, random func() []byte) (key []byte, made bool, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		key, err = readKey(a, what, path)
		return key, false, err
	}
	key = random()
	switch err := keyfile.CreateLine(path, keyLine(key)); {
	case errors.Is(err, fs.ErrExist): // somebody was faster
		key, err = readKey(a, what, path)
		return key, false, err
	case err != nil:
		return nil, false, fmt.Errorf("%s: %w", what, err)
	}
	return key, true, nil
}

// keyOwner is what people compare to know whose a public key is.
type keyOwner struct {
	ID          string   `json:"id"`
	PublicKey   string   `json:"public_key"`
	Fingerprint []string `json:"fingerprint"`
	Digits      string   `json:"digits"`
}

func whoIs(key ed25519.PublicKey) (p keyOwner, err error) {
	number := stringphone.Fingerprint(key)
	p = keyOwner{ID: stringphone.IDOf(key).String(), PublicKey: keyLine(key)}
	if p.Fingerprint, err = words.Words(number[:]); err == nil {
		p.Digits, err = words.Digits(number[:])
	}
	return p, err
}

// text is the owner in three lines.
func (p keyOwner) text() string {
	return fmt.Sprintf("id: %s\npublic key: %s\nfingerprint: %s\n", p.ID, p.PublicKey, strings.Join(p.Fingerprint, " "))
}
