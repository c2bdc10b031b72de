// Package client talks to a pad device: over the paired channel as an [otp.Pad], and by
// the original's RPC.
package client

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"parley"
	"parley/internal/keyfile"
	"parley/paddevice"
)

// Suffix ends the name of a file that holds a pairing.
const Suffix = ".paddevice"

// A Pairing is what a client keeps of a device: where it is, the device's key, and the
// client's own.
type Pairing struct {
	Name    string // what the device calls this client
	Address string // HOST:PORT
	Device  paddevice.Fingerprint
	Key     ed25519.PrivateKey
}

type pairingJSON struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Device  string `json:"device_sha256"`
	Key     string `json:"key_pkcs8"`
}

// Marshal returns the pairing as text. It is as secret as the key in it: who has it can
// ask the device for what this client can.
func (p *Pairing) Marshal() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(pairingJSON{p.Name, p.Address, hex.EncodeToString(p.Device[:]), base64.StdEncoding.EncodeToString(der)}, "", "  ")
	return append(b, '\n'), err
}

// ParsePairing reads what Marshal wrote. The error is [parley.ErrMalformed].
func ParsePairing(b []byte) (*Pairing, error) {
	bad := fmt.Errorf("%w: this is no pairing with a pad device", parley.ErrMalformed)
	var j pairingJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, bad
	}
	p := &Pairing{Name: j.Name, Address: j.Address}
	device, err := hex.DecodeString(j.Device)
	if err != nil || len(device) != len(p.Device) || paddevice.ValidAddress(j.Address) != nil || paddevice.ValidClient(j.Name) != nil {
		return nil, bad
	}
	copy(p.Device[:], device)
	der, err := base64.StdEncoding.DecodeString(j.Key)
	if err != nil {
		return nil, bad
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, bad
	}
	var ok bool
	if p.Key, ok = key.(ed25519.PrivateKey); !ok {
		return nil, bad
	}
	return p, nil
}

// Load reads the pairing in a file of mode 0600.
func Load(path string) (*Pairing, error) {
	b, err := keyfile.Read(path)
	if err != nil {
		return nil, err
	}
	p, err := ParsePairing(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// Pair makes this client known to a device under a name, by a code that the device
// shows, and returns the file in folder dir that holds the pairing: NAME.paddevice, mode
// 0600. The file is there before the device is asked, and when the device's answer is
// lost the same call finds the key in it again. A code that was refused leaves no file.
//
// Errors wrap [parley.ErrMalformed] for what is no code, [parley.ErrDenied] when the
// device does not take it, [parley.ErrUntrusted] when what answers is not the device,
// [parley.ErrOffline] when nothing does, and [fs.ErrExist] when there is a pairing of
// that name with another device.
func Pair(ctx context.Context, code, name, dir string) (path string, err error) {
	c, err := paddevice.ParseCode(code)
	if err != nil {
		return "", err
	}
	if err := paddevice.ValidClient(name); err != nil {
		return "", err
	}
	path = filepath.Join(dir, name+Suffix)
	p := &Pairing{Name: name, Address: c.Address, Device: c.Device}
	fresh := false
	if old, err := Load(path); err == nil && old.Device == c.Device {
		p.Key = old.Key
		if old.Address != c.Address {
			if err := p.save(path, keyfile.Replace); err != nil {
				return "", err
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s holds another pairing: choose another name, or remove the file", fs.ErrExist, path)
	} else {
		if p.Key, err = paddevice.NewKey(); err != nil {
			return "", err
		}
		if err := p.save(path, keyfile.Create); err != nil {
			return "", err
		}
		fresh = true
	}
	conn, err := p.connect()
	if err != nil {
		return "", err
	}
	defer conn.close()
	if _, err := conn.do(ctx, paddevice.PathPair, &paddevice.Request{Name: name, Secret: c.Secret}); err != nil {
		if fresh && errors.Is(err, parley.ErrDenied) {
			err = errors.Join(err, os.Remove(path))
		}
		return "", err
	}
	return path, nil
}

func (p *Pairing) save(path string, write func(string, []byte) error) error {
	b, err := p.Marshal()
	if err != nil {
		return err
	}
	return write(path, b)
}
