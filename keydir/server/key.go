package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"parley/internal/keyfile"
	"parley/internal/rsakey"
)

// What is in the folder.
const (
	keyName      = "key.pem"        // PKCS #1 or PKCS #8
	secretName   = "mailbox-secret" // 32 bytes
	databaseName = "directory.db"
	mailName     = "mail" // mails as files, without a mail server
)

// keyBits is the size of a new signing key: a signature costs half of one by 4096
// bits, and 3072 are good until 2030 and beyond (NIST SP 800-57 part 1, table 2).
const keyBits = 3072

// signingKey reads the key that answers are signed with, or makes it.
func signingKey(dir, file string) (*rsa.PrivateKey, error) {
	path := file
	if path == "" {
		path = filepath.Join(dir, keyName)
	}
	text, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) && file == "" {
		return newKey(dir, path)
	}
	if err != nil {
		return nil, fmt.Errorf("the directory's key: %w", err)
	}
	key, err := rsakey.ParsePrivate(text)
	if err != nil {
		return nil, fmt.Errorf("the directory's key: %s: %w", path, err)
	}
	return key, nil
}

// hasDatabase reports whether there is a database, which is made after all else.
func hasDatabase(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, databaseName))
	return err == nil
}

func newKey(dir, path string) (*rsa.PrivateKey, error) {
	if hasDatabase(dir) {
		return nil, fmt.Errorf("%s is gone, but clients know the directory by it: restore it from the backup, or name a key file", path)
	}
	key, err := rsakey.Generate(keyBits)
	if err != nil {
		return nil, err
	}
	return key, keyfile.Create(path, rsakey.EncodePrivate(key))
}

func publicPEM(key *rsa.PrivateKey) []byte { return rsakey.EncodePublic(&key.PublicKey) }

// mailboxSecret reads or makes what e-mail addresses are hashed with.
func mailboxSecret(dir string) ([]byte, error) {
	path := filepath.Join(dir, secretName)
	b, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		if hasDatabase(dir) {
			return nil, fmt.Errorf("%s is gone, but the accounts' owners are recognised by it: restore it from the backup", path)
		}
		b = make([]byte, sha256.Size)
		rand.Read(b)
		return b, keyfile.Create(path, b)
	}
	if err == nil && len(b) != sha256.Size {
		err = fmt.Errorf("%s: %w", path, keyfile.ErrFormat)
	}
	return b, err
}

// mailbox stands for an e-mail address: who steals the database alone cannot even
// try addresses out. Letters count alike in both cases, as at nearly all servers.
func (d *Directory) mailbox(address string) []byte {
	m := hmac.New(sha256.New, d.secret)
	m.Write([]byte(strings.ToLower(address)))
	return m.Sum(nil)
}

// tokenBytes is how long a token is, tokenText how long its text (base64url with
// padding).
const (
	tokenBytes = 32
	tokenText  = 44
)

// newToken returns a token for a link and the hash that is stored of it.
func newToken() (text string, hash []byte) {
	b := make([]byte, tokenBytes)
	rand.Read(b)
	text = rsakey.EncodeBase64(b)
	return text, tokenHash(text)
}

func tokenHash(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}
