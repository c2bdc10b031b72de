package server

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"parley/internal/filelock"
	"parley/internal/keyfile"
)

// What is in the data folder.
const (
	lockName  = "lock"
	keyName   = "transport-key.pem" // PKCS #8, "PRIVATE KEY"
	queueName = "queues"

	keyBits = 2048
	pemKind = "PRIVATE KEY"
)

// ErrLocked says that another process uses the data folder.
var ErrLocked = errors.New("the data folder is in use by another process")

// openData makes the data folder if need be and locks it.
func openData(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err = filelock.Try(f); err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, filelock.ErrLocked) {
		err = fmt.Errorf("%s: %w; stop that one, or give this one a folder of its own", dir, ErrLocked)
	}
	return nil, err
}

// transportKey reads the key that proves the relay to its clients. The first
// start makes it.
func transportKey(dir string) (*rsa.PrivateKey, error) {
	path := filepath.Join(dir, keyName)
	der, err := keyfile.ReadPEM(path, pemKind)
	if errors.Is(err, fs.ErrNotExist) {
		return newTransportKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("the relay's key: %w", err)
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an RSA key", path)
	}
	return key, nil
}

func newTransportKey(path string) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, keyfile.CreatePEM(path, pemKind, der)
}
