package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"parley"
	"parley/internal/keyfile"
	"parley/paddevice"
)

const (
	keyName     = "device-key.pem"
	keyKind     = "PRIVATE KEY"
	clientsName = "clients.json"
	pairingName = "pairing.json"
)

// A Client is a program that was paired.
type Client struct {
	Name   string    `json:"name"`
	Key    string    `json:"key_sha256"` // in hex
	Paired time.Time `json:"paired"`
}

// pairing is a code that was made. It holds no secret that would be worth stealing.
type pairing struct {
	Secret   string    `json:"secret_sha256"` // "": there is no code
	Until    time.Time `json:"until,omitzero"`
	Attempts int       `json:"attempts"`          // wrong ones so far
	Address  string    `json:"address,omitempty"` // where the device listens, while it runs
	Marks    string    `json:"marks,omitempty"`   // the marks that it uses
}

// ErrNoClient means that no client of that name is paired.
var ErrNoClient = errors.New("no client of that name is paired")

// ErrNotServing means that the device does not say where it listens.
var ErrNotServing = errors.New("no device with a paired channel runs on this folder: start parley-pad serve with --paired, or give the address")

// deviceKey returns the key of a folder's device, which is made at the first use.
func deviceKey(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, keyName)
	der, err := keyfile.ReadPEM(path, keyKind)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := paddevice.NewKey()
		if err != nil {
			return nil, err
		}
		if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			return nil, err
		}
		if err = keyfile.CreatePEM(path, keyKind, der); err == nil {
			return key, nil
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		der, err = keyfile.ReadPEM(path, keyKind) // another process was first
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	any, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := any.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: %w", path, keyfile.ErrFormat)
	}
	return key, nil
}

// NewCode makes a pairing code, in place of one that was not used yet. address is where
// clients find the device; "" is where the running one listens.
func NewCode(ctx context.Context, dir, address string) (c paddevice.Code, err error) {
	key, err := deviceKey(dir)
	if err != nil {
		return c, err
	}
	if c.Device, err = paddevice.KeyFingerprint(key); err != nil {
		return c, err
	}
	if _, err := rand.Read(c.Secret[:]); err != nil {
		return c, err
	}
	err = changeJSON(ctx, dir, pairingName, func(p *pairing) (*Log, *Entry, error) {
		if address == "" {
			address = p.Address
		}
		if address == "" {
			return nil, nil, ErrNotServing
		}
		if err := paddevice.ValidAddress(address); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", parley.ErrRefused, err)
		}
		sum := sha256.Sum256(c.Secret[:])
		p.Secret, p.Until, p.Attempts = hex.EncodeToString(sum[:]), time.Now().Add(paddevice.CodeLife).UTC(), 0
		return nil, nil, nil
	})
	c.Address = address
	return c, err
}

// announce keeps where the running device listens, if it has a paired channel, and which
// marks it uses.
func announce(ctx context.Context, dir, address, marks string) error {
	return changeJSON(ctx, dir, pairingName, func(p *pairing) (*Log, *Entry, error) {
		if address != "" {
			p.Address = address
		}
		p.Marks = marks
		return nil, nil, nil
	})
}

// CheckMarks reports when a folder's log has its mark elsewhere: what is logged beside the
// wrong mark looks to the right one like somebody else's lines.
func CheckMarks(dir, marks string) error {
	var p pairing
	if err := readJSON(dir, pairingName, &p); err != nil {
		return err
	}
	if p.Marks == "" || p.Marks == realPath(marks) {
		return nil
	}
	if _, err := os.Stat(headPath(dir, p.Marks)); err != nil { // they were moved
		return nil
	}
	return fmt.Errorf("%w: the marks of this folder are in %s: give --marks %s, or move them", ErrConfig, p.Marks, p.Marks)
}

// Clients returns who is paired.
func Clients(dir string) (all []Client, err error) {
	err = readJSON(dir, clientsName, &all)
	return all, err
}

// Unpair forgets a client: from the next request on it gets nothing.
func Unpair(ctx context.Context, l *Log, name string) error {
	return changeJSON(ctx, l.dir, clientsName, func(all *[]Client) (*Log, *Entry, error) {
		n := len(*all)
		*all = slices.DeleteFunc(*all, func(c Client) bool { return c.Name == name })
		if len(*all) == n {
			return nil, nil, fmt.Errorf("%w: %s", ErrNoClient, name)
		}
		return l, &Entry{Kind: KindUnpair, Client: name}, nil
	})
}

// clientOf returns the name of the client with a key.
func clientOf(dir string, fp paddevice.Fingerprint) (name string, known bool, err error) {
	all, err := Clients(dir)
	if err != nil {
		return "", false, err
	}
	for _, c := range all {
		if subtle.ConstantTimeCompare([]byte(c.Key), []byte(hex.EncodeToString(fp[:]))) == 1 {
			return c.Name, true, nil
		}
	}
	return "", false, nil
}

// Why a pairing fails. Both are [parley.ErrDenied]; a client is told no more.
var (
	errCode  = fmt.Errorf("%w: the pairing code is wrong, was used, or is too old: have the device show another", parley.ErrDenied)
	errTaken = fmt.Errorf("%w: another client has that name on the device: choose another one, or unpair it there", parley.ErrDenied)
)

// pair takes a client in that shows the secret of the code. A code that has met
// [paddevice.MaxAttempts] wrong secrets is good for nobody any more.
func pair(ctx context.Context, l *Log, name string, fp paddevice.Fingerprint, secret [16]byte) error {
	if err := paddevice.ValidClient(name); err != nil {
		return err
	}
	sum := sha256.Sum256(secret[:])
	var failed error
	err := changeJSON(ctx, l.dir, pairingName, func(p *pairing) (*Log, *Entry, error) {
		if p.Secret == "" || time.Now().After(p.Until) {
			failed = errCode
			return nil, nil, errCode
		}
		if subtle.ConstantTimeCompare([]byte(p.Secret), []byte(hex.EncodeToString(sum[:]))) != 1 {
			if p.Attempts++; p.Attempts >= paddevice.MaxAttempts {
				p.Secret = ""
			}
			failed = errCode
			return nil, nil, nil // the attempt is written down
		}
		if failed = add(l, name, fp); failed == nil {
			p.Secret = ""
		}
		return nil, nil, nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// add keeps a client, on disk before the code is used up, and its line in the log before
// that. The caller has the lock.
func add(l *Log, name string, fp paddevice.Fingerprint) error {
	all, err := Clients(l.dir)
	if err != nil {
		return err
	}
	key := hex.EncodeToString(fp[:])
	if slices.ContainsFunc(all, func(c Client) bool { return c.Name == name && c.Key != key }) {
		return errTaken
	}
	all = slices.DeleteFunc(all, func(c Client) bool { return c.Key == key })
	all = append(all, Client{Name: name, Key: key, Paired: time.Now().UTC().Truncate(time.Second)})
	return recorded(l, &Entry{Kind: KindPair, Client: name, Text: fmt.Sprintf("with the key %x…", fp[:8])}, func() error {
		return writeJSON(l.dir, clientsName, all)
	})
}
