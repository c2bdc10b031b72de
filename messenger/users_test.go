package messenger

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
	"parley/secure/nes"
)

// users is an older system in memory: NES's messages over a bus, and a directory that
// can be away, slow, or lie.
type users struct {
	mu    sync.Mutex
	down  bool
	pause time.Duration // before the directory thinks
	late  time.Duration // and after that
	lies  map[string]bool
	keys  map[string][2]*rsa.PublicKey
	asked map[string]int
	told  map[string][]byte // the last word of presence, by RECIPIENT/SENDER
	hears map[string]func([]byte)
}

// many is n, or fewer where the race detector makes RSA slow.
func many(n int) int {
	if testing.Short() {
		return n / 8
	}
	return n
}

func newUsers() *users {
	return &users{lies: map[string]bool{}, keys: map[string][2]*rsa.PublicKey{}, asked: map[string]int{}, told: map[string][]byte{}, hears: map[string]func([]byte){}}
}

// userKeys are made once: they take their time.
var userKeys = sync.OnceValue(func() (all [8]*rsa.PrivateKey) {
	for i := range all {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		all[i] = k
	}
	return all
})

// publish gives the directory pair n of the keys for a name.
func (u *users) publish(name string, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	k := userKeys()
	u.keys[name] = [2]*rsa.PublicKey{&k[2*n].PublicKey, &k[2*n+1].PublicKey}
}

func (u *users) set(down bool, pause time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.down, u.pause = down, pause
}

// word is the last word of presence that the server has, nil if it has none.
func (u *users) word(who string) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.told[who]
}

// lie makes the directory's answers about a name no good, or good again.
func (u *users) lie(name string, lies bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lies[name] = lies
}

func (u *users) times(name string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.asked[name]
}

func (u *users) STP() parley.STP { return parley.NES }
func (u *users) MaxText() int    { return 1000 }

// SetUp takes the number of a pair of keys.
func (u *users) SetUp(b parley.Bucket, _ string, setup []byte) error {
	if len(setup) != 1 {
		return fmt.Errorf("%w: the setup", ErrState)
	}
	b.Put("self", setup)
	return nil
}

func (u *users) Mailbox(server parley.Address, user string) (parley.Address, error) {
	if err := nes.CheckName(user); err != nil {
		return "", fmt.Errorf("%w: %w", ErrState, err)
	}
	return server + "/" + parley.Address(user), nil
}

type userRing struct{ b parley.Bucket }

func (u *users) Keyring(b parley.Bucket) parley.Keyring { return userRing{b} }

func (r userRing) Private(_ context.Context, kind parley.KeyKind, _ parley.Name) (crypto.PrivateKey, error) {
	n := 2 * int(r.b.Get("self")[0])
	if kind == nes.KindSign {
		n++
	}
	return userKeys()[n], nil
}

func (r userRing) Public(_ context.Context, kind parley.KeyKind, peer parley.Name) (crypto.PublicKey, error) {
	pin := r.b.Get("pin/" + string(peer))
	if pin == nil {
		return nil, parley.ErrNoKey
	}
	if r.b.Get("offer/"+string(peer)) != nil {
		return nil, parley.ErrUntrusted
	}
	return readPair(pin)[map[bool]int{true: 1}[kind == nes.KindSign]], nil
}

func writePair(k [2]*rsa.PublicKey) []byte {
	b, err := json.Marshal([2][]byte{x509.MarshalPKCS1PublicKey(k[0]), x509.MarshalPKCS1PublicKey(k[1])})
	if err != nil {
		panic(err)
	}
	return b
}

func readPair(b []byte) (k [2]*rsa.PublicKey) {
	var der [2][]byte
	if err := json.Unmarshal(b, &der); err != nil {
		panic(err)
	}
	for i := range k {
		var err error
		if k[i], err = x509.ParsePKCS1PublicKey(der[i]); err != nil {
			panic(err)
		}
	}
	return k
}

func (u *users) Describe(b parley.Bucket) SystemAccount { return SystemAccount{Directory: "here"} }

func (u *users) Question(b parley.Bucket, user string) ([]byte, bool) {
	return []byte(user), b.Get("hand/"+user) == nil
}

func (u *users) Lookup(ctx context.Context, _ []byte, user string) ([]byte, error) {
	u.mu.Lock()
	pause, late := u.pause, u.late
	u.mu.Unlock()
	if err := wait(ctx, pause); err != nil {
		return nil, err
	}
	answer, err := u.think(user)
	if late := wait(ctx, late); late != nil {
		return nil, late
	}
	return answer, err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (u *users) think(user string) ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked[user]++
	k, ok := u.keys[user]
	switch {
	case u.down:
		return nil, parley.ErrOffline
	case u.lies[user]:
		return []byte("lies"), nil
	case !ok:
		return nil, ErrNoUser
	}
	return writePair(k), nil
}

func (u *users) Learn(b parley.Bucket, user string, answer []byte) (n News, err error) {
	pin := b.Get("pin/" + user)
	switch {
	case string(answer) == "lies":
		return n, ErrDirectory
	case pin == nil:
		b.Put("pin/"+user, answer)
		n.First = true
	case string(pin) != string(answer) && string(b.Get("refused/"+user)) == string(answer):
		n.Refused = true
	case string(pin) != string(answer):
		n.Changed, n.Again = true, string(b.Get("offer/"+user)) == string(answer)
		if was := b.Get("offer/" + user); was != nil && !n.Again {
			b.Put("past/"+user, was)
		}
		b.Put("offer/"+user, answer)
	default:
		n.Withdrawn = b.Get("offer/"+user) != nil
		b.Delete("offer/" + user)
	}
	return n, nil
}

func (u *users) Pin(b parley.Bucket, user string, keys []byte) error {
	b.Put("pin/"+user, keys)
	b.Put("hand/"+user, []byte{1})
	return nil
}

func (u *users) Accept(b parley.Bucket, user string, now time.Time) error {
	b.Put("former/"+user, b.Get("pin/"+user))
	b.Put("until/"+user, []byte(now.Format(time.RFC3339Nano)))
	b.Put("pin/"+user, b.Get("offer/"+user))
	b.Delete("offer/" + user)
	b.Delete("past/" + user)
	return nil
}

func (u *users) Refuse(b parley.Bucket, user string) error {
	b.Put("refused/"+user, b.Get("offer/"+user))
	b.Delete("offer/" + user)
	return nil
}

func (u *users) Rings(b parley.Bucket, user string, came time.Time) (all []Ring) {
	for _, prefix := range []string{"pin/", "offer/", "past/", "former/"} {
		k := b.Get(prefix + user)
		if k == nil {
			continue
		}
		if until, _ := time.Parse(time.RFC3339Nano, string(b.Get("until/"+user))); prefix == "former/" && !came.Before(until) {
			continue
		}
		all = append(all, Ring{Keys: fixedRing{userRing{b}, readPair(k)}, Trusted: prefix == "pin/" || prefix == "former/", Former: prefix == "former/"})
	}
	return all
}

// fixedRing has one pair of a peer's keys.
type fixedRing struct {
	userRing
	pair [2]*rsa.PublicKey
}

func (r fixedRing) Public(_ context.Context, kind parley.KeyKind, _ parley.Name) (crypto.PublicKey, error) {
	return r.pair[map[bool]int{true: 1}[kind == nes.KindSign]], nil
}

func (u *users) Forget(b parley.Bucket, user string) {
	for _, p := range []string{"pin/", "offer/", "hand/", "former/", "until/", "refused/"} {
		b.Delete(p + user)
	}
}

func (u *users) Keys(b parley.Bucket, user string) (p PeerKeys) {
	for prefix, to := range map[string]struct {
		list *[]string
		n    *[]byte
	}{"pin/": {&p.Pinned, &p.Number}, "offer/": {&p.Offered, &p.OfferedNumber}} {
		if k := b.Get(prefix + user); k != nil {
			sum := sha256.Sum256(k)
			*to.list, *to.n = []string{fmt.Sprintf("%x", sum[:8])}, sum[:]
		}
	}
	return p
}

func (u *users) Register(context.Context, []byte, string) ([]byte, error) { return nil, ErrDirectory }
func (u *users) Registering(parley.Bucket, bool)                          {}
func (u *users) Registered(parley.Bucket, []byte) error                   { return nil }
func (u *users) NextKeys(parley.Bucket, []byte) error                     { return nil }
func (u *users) Unchanged(parley.Bucket)                                  {}
func (u *users) Rotate(context.Context, []byte) ([]byte, error)           { return nil, ErrDirectory }
func (u *users) Rotated(parley.Bucket, []byte) error                      { return nil }

func (u *users) Presence(ctx context.Context, _ parley.Address, self string, tell <-chan Word, connected func(), heard func([]byte)) error {
	u.mu.Lock()
	u.hears[self] = heard
	var kept [][]byte
	for who, p := range u.told {
		if strings.HasPrefix(who, self+"/") && p != nil {
			kept = append(kept, p)
		}
	}
	u.mu.Unlock()
	defer func() {
		u.mu.Lock()
		delete(u.hears, self)
		u.mu.Unlock()
	}()
	for _, p := range kept {
		heard(p)
	}
	connected()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case w, more := <-tell:
			if !more {
				return nil
			}
			u.mu.Lock()
			u.told[w.User+"/"+self] = w.Packet
			to := u.hears[w.User]
			u.mu.Unlock()
			if to != nil && w.Packet != nil {
				to(w.Packet)
			}
		}
	}
}

// user makes a person with an account under pair n of the keys, which the directory
// has.
func (w *world) user(b *bus, u *users, name string, n int) *person {
	p := w.person(name, "one")
	p.change = func(o *Options) {
		var r parley.Registry
		r.Carrier(parleytest.FaultyScheme, w.net)
		r.Carrier("bus", b)
		r.Transport(parley.NES, nes.New())
		o.Registry, o.Systems = &r, map[string]System{"users": u}
	}
	p.stop()
	p.start()
	if _, err := p.m.AddAccount(w.t.Context(), AccountOptions{Kind: "users", Name: name, Server: "bus://home", Setup: []byte{byte(n)}}); err != nil {
		w.t.Fatal(err)
	}
	u.publish(name, n)
	return p
}
