package profile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/zalando/go-keyring"

	"parley/internal/keyfile"
)

// A header is profile.json: the master key, wrapped with AES-256-GCM. All other
// fields are authenticated with it.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	ID      string `json:"id"`
	Secret  string `json:"secret"` // "passphrase" or "keyring"
	Cost    *Cost  `json:"argon2id,omitempty"`
	Salt    []byte `json:"salt"`
	Nonce   []byte `json:"nonce"`
	Key     []byte `json:"key"` // 32 bytes and the tag
}

const (
	headerFormat  = "parley profile"
	headerVersion = 1
	keyringName   = "parley"
)

func newHeader(o Options) (*header, []byte, error) {
	id, master := make([]byte, 16), make([]byte, 32)
	rand.Read(id)
	rand.Read(master)
	h := &header{Format: headerFormat, Version: headerVersion, ID: hex.EncodeToString(id)}
	if err := h.wrap(o.Secret, o.cost(), master); err != nil {
		return nil, nil, err
	}
	return h, master, nil
}

// wrap seals master anew, under a fresh salt and nonce.
func (h *header) wrap(s Secret, c Cost, master []byte) error {
	h.Secret, h.Cost = s.String(), nil
	h.Salt, h.Nonce = make([]byte, 16), make([]byte, 12)
	rand.Read(h.Salt)
	rand.Read(h.Nonce)
	var key []byte
	if s.keyring {
		random := make([]byte, 32)
		rand.Read(random)
		if err := keyring.Set(keyringName, h.ID, base64.StdEncoding.EncodeToString(random)); err != nil {
			return fmt.Errorf("%w: %w; use a passphrase instead", ErrKeyring, err)
		}
		key = h.keyringKey(random)
	} else {
		if err := c.check(); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		h.Cost = &c
		key = c.stretch(s.passphrase, h.Salt)
	}
	h.Key = aead(key).Seal(nil, h.Nonce, master, h.bound())
	return nil
}

// forget takes back what wrap put into the keyring.
func (h *header) forget() {
	if h.Secret == Keyring().String() {
		keyring.Delete(keyringName, h.ID)
	}
}

func (h *header) unwrap(s Secret) ([]byte, error) {
	if h.Secret != s.String() {
		return nil, fmt.Errorf("%w: this profile needs its %s", ErrPassphrase, h.secretName())
	}
	var key []byte
	if s.keyring {
		text, err := keyring.Get(keyringName, h.ID)
		if err != nil {
			return nil, fmt.Errorf("%w (service %q, account %q): %w", ErrKeyring, keyringName, h.ID, err)
		}
		random, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(random) != 32 {
			return nil, fmt.Errorf("%w: what is there is not one", ErrKeyring)
		}
		key = h.keyringKey(random)
	} else {
		key = h.Cost.stretch(s.passphrase, h.Salt)
	}
	master, err := aead(key).Open(nil, h.Nonce, h.Key, h.bound())
	if err != nil {
		if s.keyring {
			return nil, fmt.Errorf("%w: the one that is there is another, or %s was changed", ErrKeyring, keyName)
		}
		return nil, fmt.Errorf("%w, or %s was changed", ErrPassphrase, keyName)
	}
	return master, nil
}

func (h *header) secretName() string {
	if h.Secret == Keyring().String() {
		return "key in the operating system's keyring"
	}
	return "passphrase"
}

func (h *header) keyringKey(random []byte) []byte {
	return derive(append(bytes.Clone(random), h.Salt...), "parley profile 1 keyring "+h.ID)
}

// bound is the additional data of the wrapping.
func (h *header) bound() []byte {
	b := fmt.Appendf(nil, "%s\x00%d\x00%s\x00%s\x00", h.Format, h.Version, h.ID, h.Secret)
	if h.Cost != nil {
		b = binary.BigEndian.AppendUint32(b, h.Cost.MemoryKiB)
		b = binary.BigEndian.AppendUint32(b, h.Cost.Passes)
		b = append(b, h.Cost.Lanes)
	}
	return append(b, h.Salt...)
}

func aead(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(block); err == nil {
			return a
		}
	}
	panic(err) // only for keys of another length than 32
}

func (h *header) save(dir string, write func(string, []byte) error) error {
	b, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return write(filepath.Join(dir, keyName), append(b, '\n'))
}

func readHeader(dir string) (*header, error) {
	b, err := keyfile.Read(filepath.Join(dir, keyName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	var v struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	damaged := func(why string) (*header, error) {
		return nil, fmt.Errorf("%s: %w: %s: restore it from a backup", filepath.Join(dir, keyName), ErrDamaged, why)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return damaged("not JSON")
	}
	if v.Format != headerFormat || v.Version < 1 {
		return damaged("not of a profile")
	}
	if v.Version > headerVersion {
		return nil, fmt.Errorf("%s: %w: format %d, known is %d", dir, ErrNewer, v.Version, headerVersion)
	}
	h := new(header)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(h); err != nil {
		return damaged(err.Error())
	}
	if _, err := d.Token(); err != io.EOF {
		return damaged("something follows it")
	}
	if id, err := hex.DecodeString(h.ID); err != nil || len(id) != 16 {
		return damaged("the ID is not one")
	}
	if len(h.Salt) != 16 || len(h.Nonce) != 12 || len(h.Key) != 32+16 {
		return damaged("a field has a wrong length")
	}
	switch h.Secret {
	case Keyring().String():
		if h.Cost != nil {
			return damaged("a keyring's key is not stretched")
		}
	case Passphrase("").String():
		if h.Cost == nil {
			return damaged("the cost is missing")
		}
		if err := h.Cost.check(); err != nil {
			return damaged(err.Error())
		}
	default:
		return damaged("the kind of secret is unknown")
	}
	return h, nil
}

// NeedsPassphrase reports whether the profile in dir is opened by a passphrase;
// otherwise the operating system's keyring has its key.
func NeedsPassphrase(dir string) (bool, error) {
	h, err := readHeader(dir)
	return err == nil && h.Secret == Passphrase("").String(), err
}

// ChangePassphrase wraps the profile's key with another secret, a passphrase or
// the keyring, in one step. The data is not encrypted anew: who had the old
// secret and a copy of the old profile.json can still open a stolen profile.db.
func (p *Profile) ChangePassphrase(to Secret) error {
	if err := to.check(); err != nil {
		return err
	}
	h, err := readHeader(p.dir)
	if err != nil {
		return err
	}
	if h.ID != p.id {
		return fmt.Errorf("%s: %w: %s is another profile's", p.dir, ErrDamaged, keyName)
	}
	old := h.Secret
	// The keyring has room for one key of this profile: with both old and new in
	// it a crash in between would lock the owner out, so the way is over a passphrase.
	if old == Keyring().String() && to.keyring {
		return errors.New("profile: its key is in the keyring already")
	}
	if err := h.wrap(to, p.cost, p.master); err != nil {
		return err
	}
	if err := h.save(p.dir, keyfile.Replace); err != nil {
		return err // either file may be in place: both secrets stay where they are
	}
	if old == Keyring().String() {
		keyring.Delete(keyringName, p.id)
	}
	return nil
}
