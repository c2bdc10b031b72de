package profile

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// A Secret opens a profile: a passphrase, or a random key that the keyring of
// the operating system keeps. The zero value is neither, and is refused: nothing
// is ever stored in clear.
type Secret struct {
	passphrase string
	keyring    bool
}

// Passphrase is the secret of a profile that asks for one. It is taken byte by
// byte as it is given.
func Passphrase(p string) Secret { return Secret{passphrase: p} }

// Keyring is the secret of a profile whose key is in the operating system's
// keyring, as service "parley", account: the profile's ID.
func Keyring() Secret { return Secret{keyring: true} }

// String keeps a passphrase out of logs.
func (s Secret) String() string {
	if s.keyring {
		return "keyring"
	}
	return "passphrase"
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

func (s Secret) check() error {
	if !s.keyring && s.passphrase == "" {
		return errors.New("profile: a passphrase, or the keyring of the operating system, is needed")
	}
	return nil
}

// A Cost is what a guess at a passphrase costs: Argon2id's parameters.
type Cost struct {
	MemoryKiB uint32 `json:"memory_kib"`
	Passes    uint32 `json:"passes"`
	Lanes     uint8  `json:"lanes"`
}

// DefaultCost is what profiles are made with: 64 MiB, 3 passes, 4 lanes, about
// 0.1 s on a desktop.
var DefaultCost = Cost{MemoryKiB: 64 << 10, Passes: 3, Lanes: 4}

// check bounds what a changed profile.json can make Open do: 1 GiB, 16 passes.
func (c Cost) check() error {
	if c.MemoryKiB < 8*uint32(c.Lanes) || c.MemoryKiB > 1<<20 || c.Passes < 1 || c.Passes > 16 || c.Lanes < 1 || c.Lanes > 16 {
		return fmt.Errorf("Argon2id with %d KiB, %d passes, %d lanes is out of bounds", c.MemoryKiB, c.Passes, c.Lanes)
	}
	return nil
}

func (c Cost) stretch(passphrase string, salt []byte) []byte {
	return argon2.IDKey([]byte(passphrase), salt, c.Passes, c.MemoryKiB, c.Lanes, 32)
}

// keys are derived from the master key and never stored.
type keys struct {
	database []byte // the VFS's
	state    []byte // for the MACs of protocol state
	pins     []byte // for MAC
}

func deriveKeys(master []byte) keys {
	return keys{
		database: derive(master, "parley profile 1 database"),
		state:    derive(master, "parley profile 1 state"),
		pins:     derive(master, "parley profile 1 pins"),
	}
}

func derive(secret []byte, info string) []byte {
	k, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil { // only for lengths that are wrong in this line
		panic(err)
	}
	return k
}

// MAC returns an HMAC-SHA-256, under a key of this profile alone, over context
// and parts, each with its length before it. What is stored beside it cannot be
// changed without the profile's secret; the messenger pins peers' keys with it.
func (p *Profile) MAC(context string, parts ...[]byte) [32]byte {
	return mac(p.keys.pins, context, parts...)
}

func mac(key []byte, context string, parts ...[]byte) (sum [32]byte) {
	h := hmac.New(sha256.New, key)
	write := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	write([]byte(context))
	for _, b := range parts {
		write(b)
	}
	h.Sum(sum[:0])
	return sum
}
