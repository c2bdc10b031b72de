package builtin

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"parley"
	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
	"parley/messenger"
	"parley/secure/nes"
)

// Keys of ours in an account's state beside those in use: the next ones, until the
// directory has them, and old message keys, for what others sealed to them.
const (
	nextMessage = "next/message"
	nextSign    = "next/sign"
	oldPrefix   = "old/"
	// The last message key that was to be the next and was not taken.
	unusedMessage = "unused/message"
	maxOldKeys    = 8 // the oldest goes first
)

// parseKeys reads the two private keys of a setup, as PKCS #8.
func (s *NESSetup) parseKeys() (message, sign []byte, err error) {
	var keys [2]*rsa.PrivateKey
	var ders [2][]byte
	for i, text := range []string{s.MessageKey, s.SignKey} {
		if keys[i], err = rsakey.ParsePrivate([]byte(text)); err != nil {
			return nil, nil, fmt.Errorf("%w: our keys: %w", messenger.ErrState, err)
		}
		if ders[i], err = x509.MarshalPKCS8PrivateKey(keys[i]); err != nil {
			return nil, nil, err
		}
	}
	if keys[0].Equal(keys[1]) {
		return nil, nil, fmt.Errorf("%w: our keys: %w", messenger.ErrState, keydir.ErrSameKey)
	}
	return ders[0], ders[1], nil
}

// NextKeys implements [messenger.System].
func (nesSystem) NextKeys(state parley.Bucket, setup []byte) error {
	if state.Get(nextMessage) != nil {
		return nil
	}
	_, err := putKeys(state, setup, nextMessage, nextSign)
	return err
}

// Unchanged implements [messenger.System].
func (nesSystem) Unchanged(state parley.Bucket) {
	if next := state.Get(nextMessage); next != nil {
		state.Put(unusedMessage, next)
	}
	state.Delete(nextMessage)
	state.Delete(nextSign)
}

// putKeys keeps the two private keys of a setup under those names.
func putKeys(state parley.Bucket, setup []byte, message, sign string) (s NESSetup, err error) {
	if err := json.Unmarshal(setup, &s); err != nil {
		return s, fmt.Errorf("%w: the setup of a NES account: %w", messenger.ErrState, err)
	}
	m, k, err := s.parseKeys()
	if err != nil {
		return s, err
	}
	state.Put(message, m)
	state.Put(sign, k)
	return s, nil
}

// Rotate has the directory take the next keys, by the word of those in use. If it has
// them already, an answer got lost.
func (nesSystem) Rotate(ctx context.Context, asked []byte) ([]byte, error) {
	q, c, err := ask(asked)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	now, err := privateKeys(q.Message, q.Sign)
	if err != nil {
		return nil, err
	}
	next, err := privateKeys(q.NextMessage, q.NextSign)
	if err != nil {
		return nil, err
	}
	_, have, err := c.Lookup(ctx, q.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", messenger.ErrNotAsked, directoryError(err))
	}
	mine, _ := now.Keys()
	want, _ := next.Keys()
	switch {
	case have.Equal(want):
	case !have.Equal(mine):
		return nil, fmt.Errorf("%w has other keys for %s than yours: somebody else has the name there (%s)", messenger.ErrDirectory, q.Name, client.Fingerprint(have))
	default:
		if _, _, err := c.Rotate(ctx, q.Name, now.Sign, next); err != nil {
			return nil, notTaken(ctx, c, q.Name, want, err)
		}
	}
	return []byte("{}"), nil
}

// notTaken sees after a failed rotation which keys the directory has. Unless that is
// known, it may be the new ones.
func notTaken(ctx context.Context, c *client.Client, name string, want keydir.Keys, cause error) error {
	_, have, err := c.Lookup(ctx, name)
	switch {
	case err == nil && have.Equal(want):
		return nil
	case err == nil && !errors.Is(cause, client.ErrUnreachable): // an answer under way may still be taken
		return fmt.Errorf("%w: %w", messenger.ErrNotTaken, directoryError(cause))
	}
	return directoryError(cause)
}

// privateKeys reads both keys from PKCS #8.
func privateKeys(message, sign []byte) (p client.Private, err error) {
	m, err := privateKey(message)
	if err != nil {
		return p, err
	}
	s, err := privateKey(sign)
	return client.Private{Message: m, Sign: s}, err
}

func privateKey(der []byte) (*rsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if key, ok := k.(*rsa.PrivateKey); err == nil && ok {
		return key, nil
	}
	return nil, fmt.Errorf("nes: our keys are damaged: %w", parley.ErrNoKey)
}

// Rotated implements [messenger.System].
func (nesSystem) Rotated(state parley.Bucket, _ []byte) error {
	message, sign := state.Get(nextMessage), state.Get(nextSign)
	if message == nil || sign == nil {
		return fmt.Errorf("%w: there are no new keys", messenger.ErrState)
	}
	keepOld(state, state.Get(keyMessage))
	state.Put(keyMessage, message)
	state.Put(keySign, sign)
	state.Delete(nextMessage)
	state.Delete(nextSign)
	return nil
}

// keepOld keeps a message key for what was sealed to it.
func keepOld(state parley.Bucket, key []byte) {
	var names []string
	for name := range state.Scan(oldPrefix) {
		names = append(names, name)
	}
	n := 0
	if len(names) > 0 {
		n, _ = strconv.Atoi(strings.TrimPrefix(names[len(names)-1], oldPrefix))
	}
	for len(names) >= maxOldKeys {
		state.Delete(names[0])
		names = names[1:]
	}
	state.Put(fmt.Sprintf(oldPrefix+"%08d", n+1), key)
}

// decrypters returns our message keys: the one in use, the next one, which the
// directory may have given away already, and the old ones.
func decrypters(state parley.Bucket) (all nes.Decrypters, err error) {
	ders := [][]byte{state.Get(keyMessage)}
	for _, name := range []string{nextMessage, unusedMessage} {
		if der := state.Get(name); der != nil {
			ders = append(ders, der)
		}
	}
	var old [][]byte
	for _, der := range state.Scan(oldPrefix) {
		old = append(old, der)
	}
	for i := len(old) - 1; i >= 0; i-- {
		ders = append(ders, old[i])
	}
	for _, der := range ders {
		d, err := privateKey(der)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}
