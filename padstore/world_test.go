package padstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"parley"
	"parley/secure/otp"
)

// A world is two people's files of one pad, and the marks of both.
type world struct {
	t      testing.TB
	v      otp.Version
	bytes  []byte // of the pad
	dirs   [2]string
	paths  [2]string
	marks  [2]string
	mu     sync.Mutex
	events []Event
}

func randomBytes(seed uint64, n int64) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(b)
	return b
}

func header(size, split int64, owner int) *otp.PadHeader {
	return &otp.PadHeader{
		ID: [8]byte{1, 2, 3}, Size: size, Split: split, Names: [2]string{"alice", "bob"}, Owner: owner,
		Created: time.Unix(1700000000, 0), Sources: []otp.Source{{Kind: "urandom"}},
	}
}

// padFiles returns the files of one end, by name. The first is the one to open.
func padFiles(t testing.TB, v otp.Version, pad []byte, split int64, lane int) (names []string, files [][]byte) {
	names2 := [2]string{"alice", "bob"}
	self, peer := names2[lane], names2[1-lane]
	if v == otp.V2 {
		h, err := header(int64(len(pad)), split, lane).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return []string{self + "." + peer + padSuffix}, [][]byte{append(h, pad...)}
	}
	m := otp.NewMetadataV1(self, peer, int64(len(pad)), "random", lane == 0)
	return []string{otp.MetadataNameV1(self, peer), otp.StoreNameV1(self, peer)}, [][]byte{m.Marshal(), bytes.Clone(pad)}
}

func newWorld(t testing.TB, v otp.Version, size int64) *world {
	w := &world{t: t, v: v, bytes: randomBytes(uint64(size), size)}
	root := t.TempDir()
	for lane, name := range []string{"alice", "bob"} {
		w.dirs[lane], w.marks[lane] = filepath.Join(root, name), filepath.Join(root, name+"-marks")
		names, files := padFiles(t, v, w.bytes, size/2, lane)
		w.paths[lane] = filepath.Join(w.dirs[lane], names[0])
		check(t, os.Mkdir(w.dirs[lane], 0o700))
		for i := range names {
			check(t, os.WriteFile(filepath.Join(w.dirs[lane], names[i]), files[i], 0o600))
		}
	}
	return w
}

func (w *world) options(lane int) Options {
	return Options{Marks: w.marks[lane], NoSync: true, Event: func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
}

func (w *world) open(lane int) *Pad {
	w.t.Helper()
	p, err := Open(w.paths[lane], w.options(lane))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.Close() })
	return p
}

func (w *world) both() (alice, bob *Pad) { return w.open(0), w.open(1) }

// told returns the kinds of events since the last call.
func (w *world) told() (kinds []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	w.events = nil
	return kinds
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var ctx = context.Background()

func id(n int) (id [16]byte) {
	copy(id[:], fmt.Sprint(n))
	return id
}

func pack(t testing.TB, p *Pad, n int, msg string) []byte {
	t.Helper()
	packet, err := p.Package(ctx, id(n), p.Peer(), []byte(msg))
	check(t, err)
	return packet
}

func unpack(t testing.TB, p *Pad, packet []byte, msg string) *otp.Opened {
	t.Helper()
	o, err := p.Unpackage(ctx, p.Peer(), packet)
	check(t, err)
	if string(o.Message) != msg || o.Message == nil {
		t.Fatalf("opened %q, want %q", o.Message, msg)
	}
	return o
}

func finished(t testing.TB, p *Pad, packet []byte) {
	t.Helper()
	check(t, p.Done(ctx, p.Peer(), otp.Digest(packet)))
}

func is(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("the error is %v, want %v", err, w)
		}
	}
}

var bothVersions = []otp.Version{otp.V1, otp.V2}

func eachVersion(t *testing.T, do func(t *testing.T, v otp.Version)) {
	for _, v := range bothVersions {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { do(t, v) })
	}
}

// used returns the positions that a packet has used.
func used(t testing.TB, v otp.Version, size int64, packet []byte, lane int) span {
	t.Helper()
	if v == otp.V2 {
		h, use, err := otp.Parse(packet)
		check(t, err)
		return span{int64(h.Offset), int64(h.Offset) + use}
	}
	index, m, err := otp.ParseV1(packet)
	check(t, err)
	if lane == 1 {
		return span{index + 1 - otp.UseV1(m), index + 1}
	}
	return span{index, index + otp.UseV1(m)}
}

var _ parley.Name

func (w *world) size() int64 { return int64(len(w.bytes)) }
