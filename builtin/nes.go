package builtin

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"parley"
	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
	"parley/messenger"
	"parley/secure/nes"
)

// NES is the kind of NES accounts.
const NES = "nes"

// nesSystem implements [messenger.System] for NES. In an account's state are
//
//	self/…          our keys (PKCS #8) and where keys are looked up
//	next/…, old/N   keys of ours before and after their time   (nesrotate.go)
//	directory/…     what is known of the directory   (keydir/client.Pins)
//	user/NAME       pinned keys                      (likewise)
//	offer/NAME      other keys that the directory has answered with
//	past/NAME/N     such keys that others took the place of, until the user decides
//	refused/NAME    fingerprints of such keys, which the user has refused
//	former/NAME     keys that were pinned until others were accepted
type nesSystem struct {
	dial dialer
	log  *slog.Logger
}

var (
	_ messenger.System    = nesSystem{}
	_ messenger.Presenter = nesSystem{}
)

const (
	keyMessage    = "self/message"
	keySign       = "self/sign"
	keyDirectory  = "self/directory"
	keyRegistered = "self/registered"
	offerPrefix   = "offer/"
	refusedPrefix = "refused/"
	formerPrefix  = "former/"
)

// A NESSetup is the setup of a NES account, for [messenger.AccountOptions].
type NESSetup struct {
	MessageKey   string `json:"message_key"`             // private, PEM
	SignKey      string `json:"sign_key"`                // private, PEM
	Directory    string `json:"directory,omitempty"`     // empty: keys come by hand only
	DirectoryKey string `json:"directory_key,omitempty"` // PEM; empty: the one it offers is pinned
}

// Marshal returns the setup as options take it.
func (s NESSetup) Marshal() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings
	}
	return b
}

// MarshalNESKeys returns a user's two public keys (PEM), for [messenger.PeerOptions].
func MarshalNESKeys(message, sign []byte) []byte {
	b, err := json.Marshal(nesKeys{string(message), string(sign)})
	if err != nil {
		panic(err) // strings
	}
	return b
}

type nesKeys struct {
	Message string `json:"public_key_message"`
	Sign    string `json:"public_key_sign"`
}

func (nesSystem) STP() parley.STP { return parley.NES }

func (nesSystem) MaxText() int { return mostNESText }

func (nesSystem) SetUp(state parley.Bucket, _ string, setup []byte) error {
	s, err := putKeys(state, setup, keyMessage, keySign)
	if err != nil {
		return err
	}
	if s.Directory == "" {
		return nil
	}
	u, err := client.ParseURL(s.Directory)
	if err != nil {
		return fmt.Errorf("%w: %w", messenger.ErrState, err)
	}
	state.Put(keyDirectory, []byte(u.String()))
	if s.DirectoryKey == "" {
		return nil
	}
	key, err := rsakey.ParsePublic([]byte(s.DirectoryKey))
	if err != nil {
		return fmt.Errorf("%w: the directory's key: %w", messenger.ErrState, err)
	}
	_, err = client.Pins{Bucket: state}.PinProvider(u.String(), key)
	return err
}

// own returns our two private keys.
func own(state parley.Bucket) (message, sign *rsa.PrivateKey, err error) {
	if message, err = privateKey(state.Get(keyMessage)); err == nil {
		sign, err = privateKey(state.Get(keySign))
	}
	return message, sign, err
}

func (nesSystem) Describe(state parley.Bucket) messenger.SystemAccount {
	a := messenger.SystemAccount{
		Directory: string(state.Get(keyDirectory)), Registered: string(state.Get(keyRegistered)) == "yes", Asked: state.Get(keyRegistered) != nil, Rotating: state.Get(nextMessage) != nil, Fingerprint: []string{},
	}
	if m, s, err := own(state); err == nil {
		a.Fingerprint = []string{client.Fingerprint(keydir.Keys{Message: &m.PublicKey, Sign: &s.PublicKey}).String()}
		a.PublicKeys = []string{string(rsakey.EncodePublic(&m.PublicKey)), string(rsakey.EncodePublic(&s.PublicKey))}
	}
	return a
}

// nesKeyring is the account's keys, and those pinned for others, or one pair of
// somebody's.
type nesKeyring struct {
	state parley.Bucket
	pair  *keydir.Keys // nil: the pinned ones
}

func (nesSystem) Keyring(state parley.Bucket) parley.Keyring { return nesKeyring{state: state} }

func (k nesKeyring) Private(_ context.Context, kind parley.KeyKind, _ parley.Name) (crypto.PrivateKey, error) {
	switch kind {
	case nes.KindMessage:
		return decrypters(k.state)
	case nes.KindSign:
		if k.state.Get(nextMessage) != nil {
			return nil, fmt.Errorf("our new keys are on their way to the directory: %w", parley.ErrUntrusted)
		}
		return privateKey(k.state.Get(keySign))
	}
	return nil, fmt.Errorf("nes: a key of kind %q: %w", kind, parley.ErrNoKey)
}

// Public returns a pinned key. While the directory offers others, none is trusted.
func (k nesKeyring) Public(_ context.Context, kind parley.KeyKind, peer parley.Name) (crypto.PublicKey, error) {
	keys := k.pair
	if keys == nil {
		pin, known, err := client.Pins{Bucket: k.state}.User(string(peer))
		switch {
		case err != nil:
			return nil, err
		case !known:
			return nil, fmt.Errorf("the keys of %s are not known yet: %w", peer, parley.ErrNoKey)
		case k.state.Get(offerPrefix+string(peer)) != nil:
			return nil, fmt.Errorf("the keys of %s have changed; compare them: %w", peer, parley.ErrUntrusted)
		}
		keys = &pin.Keys
	}
	switch kind {
	case nes.KindMessage:
		return keys.Message, nil
	case nes.KindSign:
		return keys.Sign, nil
	}
	return nil, fmt.Errorf("nes: a key of kind %q: %w", kind, parley.ErrNoKey)
}

// A question is what a look-up has to know, and for ourselves what a registration
// has.
type question struct {
	URL     string      `json:"url"`
	Key     []byte      `json:"key,omitempty"` // the directory's, SPKI
	Binds   bool        `json:"binds,omitempty"`
	Head    keydir.Head `json:"head"`
	Name    string      `json:"name"`
	Message []byte      `json:"message,omitempty"`
	Sign    []byte      `json:"sign,omitempty"`

	NextMessage []byte `json:"next_message,omitempty"`
	NextSign    []byte `json:"next_sign,omitempty"`
}

// Question has nobody to ask about users whose keys were given by hand.
func (nesSystem) Question(state parley.Bucket, user string) ([]byte, bool) {
	q := question{URL: string(state.Get(keyDirectory)), Name: user}
	if q.URL == "" {
		return nil, false
	}
	pins := client.Pins{Bucket: state}
	if pin, known, err := pins.User(user); err != nil || known && pin.Directory == "" {
		return nil, false
	}
	p, known, err := pins.Provider(q.URL)
	if err != nil {
		return nil, false
	}
	if known {
		q.Key, q.Binds, q.Head = rsakey.DER(p.Key), p.Binds, p.Head
	}
	q.Message, q.Sign = state.Get(keyMessage), state.Get(keySign)
	q.NextMessage, q.NextSign = state.Get(nextMessage), state.Get(nextSign)
	b, err := json.Marshal(q)
	return b, err == nil
}

// ask makes the client that a question is for.
func ask(asked []byte) (q question, c *client.Client, err error) {
	if err := json.Unmarshal(asked, &q); err != nil {
		return q, nil, err
	}
	o := client.Options{URL: q.URL, Unbound: !q.Binds}
	if q.Key != nil {
		if o.Key, err = rsakey.ParsePublicDER(q.Key); err != nil {
			return q, nil, err
		}
	}
	c, err = client.New(o)
	return q, c, err
}

// An answer is what a look-up has found.
type answer struct {
	Answer keydir.Answer `json:"answer"`
	Key    []byte        `json:"key"` // the directory's
	Head   keydir.Head   `json:"head"`
	Far    bool          `json:"far,omitempty"` // see [client.ErrFar]
}

// Lookup asks for a user's keys, and sees that the directory's log shows everybody
// the same ones.
func (nesSystem) Lookup(ctx context.Context, asked []byte, user string) ([]byte, error) {
	q, c, err := ask(asked)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	a, _, head, err := c.LookupFollowed(ctx, q.Head, user)
	found := answer{Answer: a, Head: head, Far: errors.Is(err, client.ErrFar)}
	if err != nil && !found.Far {
		return nil, directoryError(err)
	}
	key, err := c.Key(ctx)
	if err != nil {
		return nil, directoryError(err)
	}
	found.Key = rsakey.DER(key)
	return json.Marshal(found)
}

// directoryError says it in the messenger's words.
func directoryError(err error) error {
	switch {
	case errors.Is(err, client.ErrNoUser):
		return messenger.ErrNoUser
	case errors.Is(err, client.ErrUnreachable):
		return fmt.Errorf("%w: %w", parley.ErrOffline, err)
	}
	return fmt.Errorf("%w: %w", messenger.ErrDirectory, err)
}

// Learn pins the first keys of a user, and keeps others beside the pinned ones as an
// offer.
func (nesSystem) Learn(state parley.Bucket, user string, found []byte) (n messenger.News, err error) {
	var f answer
	if err := json.Unmarshal(found, &f); err != nil {
		return n, err
	}
	key, err := rsakey.ParsePublicDER(f.Key)
	if err != nil {
		return n, err
	}
	url, pins := string(state.Get(keyDirectory)), client.Pins{Bucket: state}
	first, err := pins.PinProvider(url, key)
	if err != nil {
		return n, fmt.Errorf("%w: %w", messenger.ErrDirectory, err)
	}
	if err := learnProvider(pins, url, f); err != nil {
		return n, err
	}
	if first {
		n.Note = "The directory " + url + " is asked for keys from now on. Its own key is the one it offered: " + rsakey.Of(key).String()
	}
	if f.Far {
		n.Note = "The key of this contact is " + client.ErrFar.Error() + "."
	}
	keys, err := keydir.ParseKeys(f.Answer.MessageKey, f.Answer.SignKey)
	if err != nil {
		return n, fmt.Errorf("%w: %w", messenger.ErrDirectory, err)
	}
	n.First, err = pins.Check(url, user, f.Answer, keys, time.Now())
	if changed := (*client.ChangedError)(nil); errors.As(err, &changed) {
		if slices.Contains(names(state, refusedPrefix+user), client.Fingerprint(keys).Hex()) {
			n.Refused, n.Withdrawn = true, dropOffer(state, user)
			return n, nil
		}
		n.Changed, n.Vouched = true, changed.Vouched
		if n.Again = sameKeys(state, offerPrefix+user, keys); !n.Again {
			supersede(state, user)
		}
		if pin, known, err := pins.User(user); err == nil && known {
			n.Skipped = pin.Version > 0 && f.Answer.Version > pin.Version+1
		}
		return n, putOffer(state, offerPrefix+user, offer{nesKeys{f.Answer.MessageKey, f.Answer.SignKey}, f.Answer.Version, changed.Vouched, 0})
	}
	if err != nil {
		return n, fmt.Errorf("%w: %w", messenger.ErrDirectory, err)
	}
	n.Withdrawn = dropOffer(state, user)
	return n, nil
}

// learnProvider notes what the directory has shown of itself.
func learnProvider(pins client.Pins, url string, f answer) error {
	p, _, err := pins.Provider(url)
	if err != nil {
		return err
	}
	p.Binds = p.Binds || f.Answer.Bound()
	if f.Head.Size > p.Head.Size {
		p.Head = f.Head
	}
	pins.SetProvider(url, p)
	return nil
}

// An offer is keys that a directory has answered with in the place of pinned ones.
type offer struct {
	nesKeys
	Version int64 `json:"version"`
	Vouched bool  `json:"vouched"`
	Until   int64 `json:"until,omitempty"` // of a former pin: when others took its place, Unix milliseconds
}

func putOffer(state parley.Bucket, name string, o offer) error {
	b, err := json.Marshal(o)
	if err == nil {
		state.Put(name, b)
	}
	return err
}

// getKeys reads an offer, a refused one or a former pin.
func getKeys(state parley.Bucket, name string) (o offer, k keydir.Keys, ok bool) {
	b := state.Get(name)
	if b == nil || json.Unmarshal(b, &o) != nil {
		return o, k, false
	}
	k, err := keydir.ParseKeys(o.Message, o.Sign)
	return o, k, err == nil
}

func sameKeys(state parley.Bucket, name string, k keydir.Keys) bool {
	_, have, ok := getKeys(state, name)
	return ok && have.Equal(k)
}

// Pin implements [messenger.System]; keys are [MarshalNESKeys]'s.
func (nesSystem) Pin(state parley.Bucket, user string, keys []byte) error {
	var n nesKeys
	if err := json.Unmarshal(keys, &n); err != nil {
		return fmt.Errorf("%w: the keys of %s: %w", messenger.ErrState, user, err)
	}
	k, err := keydir.ParseKeys(n.Message, n.Sign)
	if err != nil {
		return fmt.Errorf("%w: the keys of %s: %w", messenger.ErrState, user, err)
	}
	dropOffer(state, user)
	for _, p := range []string{refusedPrefix, formerPrefix} {
		state.Delete(p + user)
	}
	client.Pins{Bucket: state}.Set(user, client.Pin{Keys: k, Since: time.Now()})
	return nil
}

// Accept pins what is offered. The keys of before stay good for what came before.
func (nesSystem) Accept(state parley.Bucket, user string, now time.Time) error {
	o, k, ok := getKeys(state, offerPrefix+user)
	if !ok {
		return fmt.Errorf("%w: no other keys of %s are known", messenger.ErrState, user)
	}
	pins := client.Pins{Bucket: state}
	if pin, known, err := pins.User(user); err == nil && known {
		was := offer{nesKeys{string(rsakey.EncodePublic(pin.Keys.Message)), string(rsakey.EncodePublic(pin.Keys.Sign))}, pin.Version, false, now.UnixMilli()}
		if err := putOffer(state, formerPrefix+user, was); err != nil {
			return err
		}
	}
	dropOffer(state, user)
	state.Delete(refusedPrefix + user)
	pins.Set(user, client.Pin{Keys: k, Directory: string(state.Get(keyDirectory)), Version: o.Version, Since: now})
	return nil
}

// mostRefused is how many refused offers of a user are remembered, mostPast how many
// offers that others took the place of before the user decided.
const (
	mostRefused = 32
	mostPast    = 4
)

// Refuse keeps the pinned keys, and remembers what was offered instead.
func (nesSystem) Refuse(state parley.Bucket, user string) error {
	_, k, ok := getKeys(state, offerPrefix+user)
	if !ok {
		return fmt.Errorf("%w: no other keys of %s are known", messenger.ErrState, user)
	}
	all := append(names(state, refusedPrefix+user), client.Fingerprint(k).Hex())
	state.Put(refusedPrefix+user, []byte(strings.Join(all[max(len(all)-mostRefused, 0):], " ")))
	dropOffer(state, user)
	return nil
}

// names reads a list of fingerprints.
func names(state parley.Bucket, name string) []string { return strings.Fields(string(state.Get(name))) }

// dropOffer forgets what was offered, and reports whether something was.
func dropOffer(state parley.Bucket, user string) bool {
	had := state.Get(offerPrefix+user) != nil
	state.Delete(offerPrefix + user)
	for i := range mostPast {
		state.Delete(pastName(user, i))
	}
	return had
}

func pastName(user string, i int) string { return fmt.Sprintf("past/%s/%d", user, i) }

// supersede keeps an offer that others take the place of: what is signed with it is
// genuine if the user decides for it after all.
func supersede(state parley.Bucket, user string) {
	if state.Get(offerPrefix+user) == nil {
		return
	}
	for i := mostPast - 1; i > 0; i-- {
		if was := state.Get(pastName(user, i-1)); was != nil {
			state.Put(pastName(user, i), was)
		}
	}
	state.Put(pastName(user, 0), state.Get(offerPrefix+user))
}

func (nesSystem) Rings(state parley.Bucket, user string, came time.Time) (all []messenger.Ring) {
	pin, known, err := client.Pins{Bucket: state}.User(user)
	if err != nil || !known {
		return nil
	}
	all = append(all, messenger.Ring{Keys: nesKeyring{state, &pin.Keys}, Trusted: true})
	if _, k, ok := getKeys(state, offerPrefix+user); ok {
		all = append(all, messenger.Ring{Keys: nesKeyring{state, &k}})
	}
	for i := range mostPast {
		if _, k, ok := getKeys(state, pastName(user, i)); ok {
			all = append(all, messenger.Ring{Keys: nesKeyring{state, &k}})
		}
	}
	if o, k, ok := getKeys(state, formerPrefix+user); ok && came.UnixMilli() < o.Until {
		all = append(all, messenger.Ring{Keys: nesKeyring{state, &k}, Trusted: true, Former: true})
	}
	return all
}

func (nesSystem) Forget(state parley.Bucket, user string) {
	dropOffer(state, user)
	for _, p := range []string{refusedPrefix, formerPrefix} {
		state.Delete(p + user)
	}
	client.Pins{Bucket: state}.Forget(user)
}

func (nesSystem) Keys(state parley.Bucket, user string) (p messenger.PeerKeys) {
	pin, known, err := client.Pins{Bucket: state}.User(user)
	if err != nil || !known {
		return p
	}
	p.Pinned = []string{client.Fingerprint(pin.Keys).String()}
	p.Number = nesNumber(state, pin.Keys)
	if o, k, ok := getKeys(state, offerPrefix+user); ok {
		p.Offered, p.Vouched = []string{client.Fingerprint(k).String()}, o.Vouched
		p.OfferedNumber = nesNumber(state, k)
	}
	return p
}

// nesNumber is what both sides compare: made of the fingerprints of both, in order.
func nesNumber(state parley.Bucket, peer keydir.Keys) []byte {
	m, s, err := own(state)
	if err != nil {
		return nil
	}
	both := []string{client.Fingerprint(keydir.Keys{Message: &m.PublicKey, Sign: &s.PublicKey}).Hex(), client.Fingerprint(peer).Hex()}
	slices.Sort(both)
	sum := sha256.Sum256([]byte("parley nes safety number 1\n" + both[0] + "\n" + both[1] + "\n"))
	return sum[:]
}

// Register makes the account known to its directory; contact is the e-mail address
// that the links go to.
func (nesSystem) Register(ctx context.Context, asked []byte, contact string) ([]byte, error) {
	q, c, err := ask(asked)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	p, err := privateKeys(q.Message, q.Sign)
	if err != nil {
		return nil, err
	}
	if err := c.Register(ctx, q.Name, contact, p); err != nil {
		return nil, directoryError(err)
	}
	f := answer{}
	if key, err := c.Key(ctx); err == nil {
		f.Key = rsakey.DER(key)
	}
	return json.Marshal(f)
}

func (nesSystem) Registering(state parley.Bucket, asked bool) {
	if asked {
		state.Put(keyRegistered, []byte("asked"))
	} else {
		state.Delete(keyRegistered)
	}
}

// Registered pins the directory's key, if it is known by now.
func (nesSystem) Registered(state parley.Bucket, found []byte) error {
	var f answer
	if err := json.Unmarshal(found, &f); err != nil {
		return err
	}
	state.Put(keyRegistered, []byte("yes"))
	if f.Key == nil {
		return nil
	}
	key, err := rsakey.ParsePublicDER(f.Key)
	if err != nil {
		return err
	}
	_, err = client.Pins{Bucket: state}.PinProvider(string(state.Get(keyDirectory)), key)
	return err
}
