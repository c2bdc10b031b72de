package server

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Passwords are stored as PBKDF2-HMAC-SHA-256 (RFC 8018 §5.2):
// pbkdf2-sha256:ITERATIONS:SALT:HASH, both in base64 without padding.
const (
	hashScheme     = "pbkdf2-sha256"
	hashIterations = 600_000
	hashMost       = 20_000_000
	hashLeast      = 1_000
	saltBytes      = 16
	hashBytes      = 32
)

type passwordHash struct {
	iterations int
	salt, hash []byte
}

// HashPassword returns the line of a users file for a user. Its error says what is
// wrong with the name or the password; a password has 1 to 1,024 bytes.
func HashPassword(name string, password []byte) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if len(password) == 0 || len(password) > 1024 {
		return "", errors.New("a password has 1 to 1024 bytes")
	}
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	return hashLine(name, password, salt, hashIterations)
}

func hashLine(name string, password, salt []byte, iterations int) (string, error) {
	sum, err := pbkdf2.Key(sha256.New, string(password), salt, iterations, hashBytes)
	if err != nil {
		return "", err
	}
	e := base64.RawStdEncoding
	return fmt.Sprintf("user %s %s:%d:%s:%s", name, hashScheme, iterations, e.EncodeToString(salt), e.EncodeToString(sum)), nil
}

func parseHash(s string) (h passwordHash, err error) {
	bad := errors.New("what follows the user's name is no line of 'parleyd mqtt-user'")
	parts := strings.Split(s, ":")
	if len(parts) != 4 || parts[0] != hashScheme {
		return h, bad
	}
	if h.iterations, err = strconv.Atoi(parts[1]); err != nil || h.iterations < hashLeast || h.iterations > hashMost {
		return h, bad
	}
	e := base64.RawStdEncoding.Strict()
	if h.salt, err = e.DecodeString(parts[2]); err != nil || len(h.salt) < saltBytes || len(h.salt) > 64 {
		return h, bad
	}
	if h.hash, err = e.DecodeString(parts[3]); err != nil || len(h.hash) != hashBytes {
		return h, bad
	}
	return h, nil
}

func (k *checker) start() {
	k.slots = newTurnstile(max(1, runtime.GOMAXPROCS(0)-1))
	rand.Read(k.key[:])
	k.right = make(map[string][32]byte)
}

// login says whether a client may connect. It gives up late, or when done is closed:
// then whether the password was right is not known, and the broker is busy.
func (u *Users) login(p *connect, host string, late time.Time, done <-chan struct{}) code {
	switch {
	case u == nil:
		return success
	case !p.hasUser && len(p.password) == 0:
		if u.letsAnonymous() {
			return success
		}
		return notAuthorized
	case p.user == "":
		return badLogin
	}
	h, known := u.hashes[p.user]
	if !known {
		// As slow as for one who is known, so that names can't be guessed.
		h = passwordHash{iterations: hashIterations, salt: u.check.key[:saltBytes], hash: u.check.key[:]}
		for _, other := range u.hashes {
			h.iterations = other.iterations
			break
		}
	}
	right, turn := u.check.matches(p.user, p.password, h, host, late, done)
	switch {
	case !turn:
		return serverBusy
	case !right || !known:
		return badLogin
	}
	return success
}

// matches checks a password; turn says that it came to that in time.
func (k *checker) matches(user string, password []byte, h passwordHash, host string, late time.Time, done <-chan struct{}) (right, turn bool) {
	mac := hmac.New(sha256.New, k.key[:])
	fmt.Fprintf(mac, "%d:%s", len(user), user)
	mac.Write(password)
	sum := [32]byte(mac.Sum(nil))
	k.mu.Lock()
	known, there := k.right[user]
	k.mu.Unlock()
	if there && hmac.Equal(known[:], sum[:]) {
		return true, true
	}
	if !k.slots.enter(host, time.Until(late), done) {
		return false, false
	}
	defer k.slots.leave()
	got, err := pbkdf2.Key(sha256.New, string(password), h.salt, h.iterations, len(h.hash))
	if err != nil || subtle.ConstantTimeCompare(got, h.hash) != 1 {
		return false, true
	}
	k.mu.Lock()
	k.right[user] = sum
	k.mu.Unlock()
	return true, true
}
