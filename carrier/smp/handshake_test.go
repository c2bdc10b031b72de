package smp

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
)

// connected makes both ends of an encrypted connection.
func connected(t testing.TB, id *Identity) (client, server *Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	got := make(chan *Conn, 1)
	go func() {
		c, err := id.Accept(a)
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	client, err := Connect(b, id.KeyHash())
	if err != nil {
		t.Fatal(err)
	}
	return client, <-got
}

func TestRoundTrip(t *testing.T) {
	_, key, id := readVectors(t)
	client, server := connected(t, id)
	cmd := Transmission{ID: mustID("0123456789abcdef"), Verb: SEND, Body: bytes.Repeat([]byte{'\n'}, MaxBody)}
	if err := cmd.Sign(key); err != nil {
		t.Fatal(err)
	}
	if n := len(cmd.Append(nil)); n > ContentSize {
		t.Fatalf("the largest signed SEND has %d bytes", n)
	}
	small := Transmission{ID: cmd.ID, Verb: SEND, Body: []byte("x")}
	go client.Send(&small, &cmd, &small, &small)
	var in Transmission
	for i, want := range []int{1, MaxBody, 1, 1} {
		if err := server.Next(&in); err != nil || len(in.Body) != want {
			t.Fatalf("%d: %v, %d bytes", i, err, len(in.Body))
		}
	}
	if server.More() {
		t.Error("More after the last")
	}
	for _, id := range []ID{mustID("0123456789abcdef"), mustID("0123456789abcdef01234567")} {
		go server.Send(&Transmission{ID: id, Verb: MSG, Body: make([]byte, MaxBodyBlock)})
		if err := client.Next(&in); err != nil || len(in.Body) != MaxBodyBlock {
			t.Fatalf("the largest MSG: %v", err)
		}
	}
	if err := client.Send(&Transmission{ID: cmd.ID, Verb: SEND, Body: make([]byte, ContentSize)}); err != ErrTooLarge {
		t.Errorf("a body larger than a block: %v", err)
	}
	go client.Send(&small)
	if err := server.Next(&in); err != nil {
		t.Errorf("after one that was too large: %v", err)
	}
}

func TestConnectRefuses(t *testing.T) {
	v, _, id := readVectors(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("crypto/rsa makes no 1024-bit keys:", err)
	}
	weak := append(binary.BigEndian.AppendUint16(bytes.Clone(v.Hello[:6]), 0), spki(t, &small.PublicKey)...)
	binary.BigEndian.PutUint16(weak[6:], uint16(len(weak)-8))
	change := func(at int, b byte) []byte {
		h := bytes.Clone(v.Hello)
		h[at] = b
		return h
	}
	for _, c := range []struct {
		name  string
		hello []byte
		hash  KeyHash
		want  error
	}{
		{"nothing", nil, id.hash, io.ErrUnexpectedEOF},
		{"cut off", v.Hello[:100], id.hash, io.ErrUnexpectedEOF},
		{"another block size", change(2, 0x20), id.hash, ErrHandshake},
		{"another transport", change(5, 1), id.hash, ErrHandshake},
		{"no key", change(6, 0)[:7], id.hash, io.ErrUnexpectedEOF},
		{"a key without end", change(6, 0xff), id.hash, ErrHandshake},
		{"another key", change(100, 1), id.hash, ErrServerKey},
		{"another hash", v.Hello, KeyHash{}, ErrServerKey},
		{"a weak key with the right hash", weak, HashKey(weak[8:]), ErrHandshake},
		{"then nothing", v.Hello, id.hash, io.ErrUnexpectedEOF},
		{"then garbage", append(bytes.Clone(v.Hello), make([]byte, BlockSize)...), id.hash, ErrBlock},
	} {
		var said bytes.Buffer
		_, err := Connect(&readConn{r: bytes.NewReader(c.hello), w: &said}, c.hash)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if said.Len() > 0 && errors.Is(err, ErrServerKey) {
			t.Errorf("%s: the client went on to talk", c.name)
		}
	}
}

func TestConnectRefusesVersion(t *testing.T) {
	for version, good := range map[string]bool{"v0.2.0 ": true, "v0.2.9 ": true, "v0.3.0 ": false, "v1.2.0 ": false, "": false, "v0.2.0": false} {
		_, _, id := readVectors(t)
		a, b := net.Pipe()
		go func() {
			defer a.Close()
			a.Write(id.hello)
			sealed := make([]byte, id.size)
			io.ReadFull(a, sealed)
			header, _ := id.key.Decrypt(nil, sealed, &rsa.OAEPOptions{Hash: crypto.SHA256})
			_, out, err := parseHeader(header)
			if err != nil {
				t.Error(err)
				return
			}
			var buf buffer
			n := copy(buf[TagSize:], version)
			for i := TagSize + n; i < BlockSize; i++ {
				buf[i] = '#'
			}
			out.seal(&buf)
			a.Write(buf[:BlockSize])
		}()
		if _, err := Connect(b, id.hash); (err == nil) != good || err != nil && err != ErrHandshake {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestAcceptRefuses(t *testing.T) {
	v, key, id := readVectors(t)
	seal := func(h []byte) []byte {
		s, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, h, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	header, err := id.key.Decrypt(nil, v.Header, &rsa.OAEPOptions{Hash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, b byte) []byte {
		h := bytes.Clone(header)
		h[at] = b
		return seal(h)
	}
	same := bytes.Clone(header)
	copy(same[54:86], same[6:38])
	for name, in := range map[string][]byte{
		"garbage": make([]byte, 256), "another block size": change(3, 1), "another transport": change(4, 1),
		"short": seal(header[:101]), "long": seal(append(bytes.Clone(header), 0)), "empty": seal(nil), "one key both ways": seal(same),
	} {
		if _, err := id.Accept(&readConn{r: bytes.NewReader(in), w: io.Discard}); err != ErrHandshake {
			t.Errorf("%s: %v, want ErrHandshake", name, err)
		}
	}
	if _, err := id.Accept(&readConn{r: bytes.NewReader(v.Header[:99]), w: io.Discard}); err != io.ErrUnexpectedEOF {
		t.Errorf("cut off: %v", err)
	}
}

// A block that is changed, repeated, left out or cut off ends the connection.
func TestBadBlocks(t *testing.T) {
	v, _, _ := readVectors(t)
	changed := bytes.Clone(v.Client[0])
	changed[4000] ^= 1
	for name, c := range map[string]struct {
		in   [][]byte
		want error
	}{
		"changed":  {[][]byte{changed}, ErrBlock},
		"repeated": {[][]byte{v.Client[1], v.Client[1]}, ErrBlock},
		"missing":  {[][]byte{v.Client[1]}, ErrBlock},
		"cut off":  {[][]byte{v.Client[0][:4095]}, io.ErrUnexpectedEOF},
		"in a tag": {[][]byte{v.Client[0][:5]}, io.ErrUnexpectedEOF},
	} {
		_, _, id := readVectors(t)
		conn, err := id.Accept(&readConn{r: io.MultiReader(bytes.NewReader(v.Header), bytes.NewReader(bytes.Join(c.in, nil))), w: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		var tr Transmission
		if err := conn.Next(&tr); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if conn.blocks.buf != nil {
			t.Errorf("%s: a buffer is held", name)
		}
	}
}

func TestIVs(t *testing.T) {
	h, err := newHalf(make([]byte, 32), bytes.Repeat([]byte{0xf0}, 16))
	if err != nil {
		t.Fatal(err)
	}
	for counter, want := range map[uint64]string{0: "\xf0\xf0\xf0\xf0", 1: "\xf0\xf0\xf0\xf1", 1 << 24: "\xf1\xf0\xf0\xf0", 1<<32 - 1: "\x0f\x0f\x0f\x0f"} {
		h.next = counter
		if iv, err := h.nonce(); err != nil || string(iv[:4]) != want || string(iv[4:]) != string(bytes.Repeat([]byte{0xf0}, 12)) {
			t.Errorf("counter %d: %x, %v", counter, iv, err)
		}
	}
	h.next = 1 << 32
	for range 2 {
		if _, err := h.nonce(); err != ErrExhausted {
			t.Errorf("after 2^32 blocks: %v", err)
		}
	}
}

// A reader whose keys are used up says so too, and an idle one holds no buffer.
func TestReadExhausted(t *testing.T) {
	_, _, id := readVectors(t)
	client, server := connected(t, id)
	go client.Send(&Transmission{Verb: SUB})
	var tr Transmission
	server.Next(&tr)
	server.blocks.next = 1 << 32
	go client.Send(&Transmission{Verb: SUB})
	if err := server.Next(&tr); err != ErrExhausted {
		t.Errorf("%v, want ErrExhausted", err)
	}
}
