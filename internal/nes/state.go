package nes

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"parley"
	"parley/internal/bucketfile"
	"parley/keydir/client"
)

// The state file's keys: pins/…, guard/…, out/N (messages for the broker), wait/N
// (envelopes whose sender's key is not known yet), show/N (taken, and not shown yet),
// last/PEER (the time of the last message to them), client (the MQTT client ID),
// rest/URL (when a provider failed last), and next (the next N).

// sub is the part of a bucket whose keys begin with a prefix.
type sub struct {
	b      parley.Bucket
	prefix string
}

func (s sub) Get(key string) []byte        { return s.b.Get(s.prefix + key) }
func (s sub) Put(key string, value []byte) { s.b.Put(s.prefix+key, value) }
func (s sub) Delete(key string)            { s.b.Delete(s.prefix + key) }

func (s sub) Scan(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for k, v := range s.b.Scan(s.prefix + prefix) {
			if !yield(strings.TrimPrefix(k, s.prefix), v) {
				return
			}
		}
	}
}

func pins(b parley.Bucket) client.Pins      { return client.Pins{Bucket: sub{b, "pins/"}} }
func guarded(b parley.Bucket) parley.Bucket { return sub{b, "guard/"} }

// openState opens the state file of a user, or makes one.
func (s *Settings) openState() (*bucketfile.File, error) {
	path := s.StatePath()
	f, err := bucketfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = bucketfile.Create(path)
		if errors.Is(err, fs.ErrExist) { // by another process, just now
			f, err = bucketfile.Open(path)
		}
	}
	var mode fs.FileMode
	if st, statErr := os.Stat(path); statErr == nil {
		mode = st.Mode().Perm()
	}
	switch {
	case errors.Is(err, bucketfile.ErrExposed):
		return nil, &Error{Files, exposedState{fmt.Sprintf("Cannot open state: the state file %s is open to others (mode %04o): if nobody has copied it, run: chmod 600 %s", path, mode, quote(path))}}
	case err != nil:
		return nil, Errorf(Files, "Cannot open state: %w", err)
	}
	return f, nil
}

// exposedState is [bucketfile.ErrExposed] in words of its own: the state is no key file.
type exposedState struct{ text string }

func (e exposedState) Error() string { return e.text }

func (e exposedState) Is(target error) bool { return target == bucketfile.ErrExposed }

// StatePath is where a user's state is kept: USER-state beside the private message key.
func (s *Settings) StatePath() string { return filepath.Join(s.Dir(), s.Get(User)+"-state") }

// add stores a value under the next number: entries of a kind come in the order in
// which they were added.
func add(b parley.Bucket, kind string, value []byte) (key string) {
	key = nextKey(b, kind)
	b.Put(key, value)
	b.Put("next", binary.BigEndian.AppendUint64(nil, nextNumber(b)+1))
	return key
}

// nextKey returns the key that the next entry would have.
func nextKey(b parley.Bucket, kind string) string { return fmt.Sprintf("%s%016x", kind, nextNumber(b)) }

func nextNumber(b parley.Bucket) uint64 {
	if v := b.Get("next"); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// clientID returns what the broker knows us by: drawn once, then always the same.
func clientID(b parley.Bucket) string {
	if v := b.Get("client"); v != nil {
		return string(v)
	}
	r := make([]byte, 10)
	rand.Read(r)
	id := "nes" + hex.EncodeToString(r) // 23 letters and digits are accepted everywhere
	b.Put("client", []byte(id))
	return id
}

// tick returns the time for a message to a peer, in Unix milliseconds: now, or just
// after the last one, since two equal texts of one time would be one message.
func tick(b parley.Bucket, peer string, now int64) int64 {
	if v := b.Get("last/" + peer); len(v) == 8 {
		now = max(now, int64(binary.BigEndian.Uint64(v))+1)
	}
	b.Put("last/"+peer, binary.BigEndian.AppendUint64(nil, uint64(now)))
	return now
}

// A Message is one that was taken: verified, for us, and not seen before.
type Message struct {
	From string `json:"from"`
	Time int64  `json:"time"` // Unix milliseconds, by the sender's clock
	Text string `json:"text"` // as it came: clean it before it is shown
	key  string
}

// outgoing is a message in the outbox.
type outgoing struct {
	Peer     string `json:"peer"`
	Broker   string `json:"broker"` // without user and password
	Envelope []byte `json:"envelope"`
	key      string
}

// waiting is an envelope that nobody can verify yet, or whose sender's keys have
// changed: then it was verified with the known or the offered ones.
type waiting struct {
	claimed  string
	verified bool
	envelope []byte
	key      string
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, bytes and numbers
	}
	return b
}

// list returns the entries of a kind in order. What cannot be read is left out.
func list[T any](b parley.Bucket, kind string, key func(*T, string)) (all []T) {
	for k, v := range b.Scan(kind) {
		var one T
		if json.Unmarshal(v, &one) == nil {
			key(&one, k)
			all = append(all, one)
		}
	}
	return all
}

func outbox(b parley.Bucket) []outgoing {
	return list(b, "out/", func(o *outgoing, k string) { o.key = k })
}

// waitingRoom returns what waits, in order. There may be much of it, and more with
// each packet: the form is a + if it was verified, the sender's name, LF and the envelope.
func waitingRoom(b parley.Bucket) (all []waiting) {
	for k, v := range b.Scan("wait/") {
		if name, envelope, ok := bytes.Cut(v, []byte("\n")); ok {
			name, verified := bytes.CutPrefix(name, []byte("+"))
			all = append(all, waiting{string(name), verified, envelope, k})
		}
	}
	return all
}

func (w *waiting) value() []byte {
	mark := ""
	if w.verified {
		mark = "+"
	}
	return append([]byte(mark+w.claimed+"\n"), w.envelope...)
}

// count returns how many entries of a kind there are.
func count(b parley.Bucket, kind string) (n int) {
	for range b.Scan(kind) {
		n++
	}
	return n
}

func unshown(b parley.Bucket) []Message {
	return list(b, "show/", func(m *Message, k string) { m.key = k })
}
