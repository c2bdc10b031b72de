package stringphone

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"time"
)

// A draft is what one call is going to write and to post. A call that fails
// drops it, so that a failing call leaves no trace in the Bucket.
type draft struct {
	*Member
	now   time.Time
	st    record
	puts  map[string][]byte // nil: deleted
	posts [][]byte

	newestUnused bool // a rotation was sealed to an older sealing key of ours than the newest
	catchingUp   bool // the rotation that is taken in is not new
}

// do runs one call: all of it is written, or nothing.
func (m *Member) do(now time.Time, f func(d *draft) error) error {
	st, err := loadRecord(m.bucket)
	if err != nil {
		return err
	}
	d := &draft{Member: m, now: now, st: st, puts: make(map[string][]byte, 8)}
	if err := f(d); err != nil {
		return err
	}
	d.write()
	return nil
}

func (d *draft) write() {
	if r := d.st.marshal(); !bytes.Equal(r, d.bucket.Get(stateRow)) {
		d.put(stateRow, r)
	}
	for _, k := range sortedKeys(d.puts) {
		if v := d.puts[k]; v != nil {
			d.bucket.Put(k, v)
		} else {
			d.bucket.Delete(k)
		}
	}
	for _, p := range d.posts {
		d.post(p)
	}
}

func sortedKeys(m map[string][]byte) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (d *draft) get(key string) []byte {
	if v, ok := d.puts[key]; ok {
		return v
	}
	return d.bucket.Get(key)
}

func (d *draft) put(key string, value []byte) { d.puts[key] = value }

func (d *draft) delete(key string) {
	if d.get(key) != nil {
		d.puts[key] = nil
	}
}

// scan returns the keys with a prefix, in order, at most n of them (0: all).
func (d *draft) scan(prefix string, n int) []string {
	var keys []string
	for k := range d.bucket.Scan(prefix) {
		if v, ok := d.puts[k]; !ok || v != nil {
			keys = append(keys, k)
		}
		if n > 0 && len(keys) >= n+len(d.puts) {
			break
		}
	}
	for k, v := range d.puts {
		if v != nil && strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if n > 0 && len(keys) > n {
		keys = keys[:n]
	}
	return keys
}

// deleteAll deletes what begins with prefix.
func (d *draft) deleteAll(prefix string) {
	for _, k := range d.scan(prefix, 0) {
		d.puts[k] = nil
	}
}

// send posts a packet once the call has succeeded.
func (d *draft) send(packet []byte) { d.posts = append(d.posts, packet) }

func (d *draft) canPost() bool { return d.post != nil }

func (d *draft) read(b []byte) error {
	_, err := io.ReadFull(d.random, b)
	return err
}

func (d *draft) newKey() (k [KeySize]byte, err error) { return k, d.read(k[:]) }
