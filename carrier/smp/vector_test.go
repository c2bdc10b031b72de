package smp

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"testing"
	"time"
)

// vectors were made by another implementation: testdata/vectors.py.
type vectors struct {
	Private, Hello, Header, Welcome []byte
	Hash                            string
	Client, Server                  [][]byte
	ClientLast                      []byte `json:"client_last"`
	Signed                          []byte
	Signatures                      [][]byte
	OutOfBand                       string `json:"out_of_band"`
}

func readVectors(t testing.TB) (v vectors, key *rsa.PrivateKey, id *Identity) {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	k, err := x509.ParsePKCS8PrivateKey(v.Private)
	if err != nil {
		t.Fatal(err)
	}
	key = k.(*rsa.PrivateKey)
	if id, err = NewIdentity(key); err != nil {
		t.Fatal(err)
	}
	return v, key, id
}

// TestVectorsServer: a recorded client, and each byte that the server says.
func TestVectorsServer(t *testing.T) {
	v, key, id := readVectors(t)
	if id.KeyHash().String() != v.Hash {
		t.Errorf("key hash %s, want %s", id.KeyHash(), v.Hash)
	}
	var said bytes.Buffer
	in := io.MultiReader(bytes.NewReader(v.Header), bytes.NewReader(v.Client[0]), bytes.NewReader(v.Client[1]))
	c, err := id.Accept(&readConn{r: in, w: &said})
	if err != nil {
		t.Fatal(err)
	}
	var tr Transmission
	for i := range 2 {
		if err := c.Next(&tr); err != nil || tr.Verb != SEND || string(tr.Body) != "\n#\r\n\x00" {
			t.Fatalf("%v, %+v", err, tr)
		}
		if !bytes.Equal(tr.Signed, v.Signed) || !Verify(&key.PublicKey, tr.Signed, tr.Signature) {
			t.Error("the signature does not verify")
		}
		if c.More() != (i == 0) {
			t.Errorf("More is %v after transmission %d", c.More(), i)
		}
	}
	if err, ok := c.Next(&tr).(*SyntaxError); !ok || err.Code != CodeNoCredentials {
		t.Fatal(err)
	}
	at := time.UnixMilli(1602763200123)
	if err := c.Send(&Transmission{Verb: MSG, ID: mustID("0123456789abcdef"), Time: at, Body: []byte("two  spaces")}); err != nil {
		t.Fatal(err)
	}
	if want := bytes.Join([][]byte{v.Hello, v.Welcome, v.Server[0]}, nil); !bytes.Equal(said.Bytes(), want) {
		t.Error("the server said other bytes than the vectors")
	}
}

// TestVectorsClient: the client's blocks, with the keys of the vectors.
func TestVectorsClient(t *testing.T) {
	v, key, _ := readVectors(t)
	header, err := key.Decrypt(nil, v.Header, &rsa.OAEPOptions{Hash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := parseHeader(header)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	c := encrypted(&readConn{r: bytes.NewReader(append(bytes.Clone(v.Welcome), v.Server[0]...)), w: &said}, ClientSide, out, in)
	if b, err := c.blocks.content(c.nc); err != nil || !bytes.HasPrefix(b, []byte(Version+" ####")) {
		t.Fatalf("welcome %.20q, %v", b, err)
	}
	c.blocks.release()
	var tr Transmission
	if err := c.Next(&tr); err != nil || string(tr.Body) != "two  spaces" || tr.Time.UnixMilli() != 1602763200123 {
		t.Fatalf("%v, %+v", err, tr)
	}
	want, err := openVector(v.Client[0], in)
	if err != nil {
		t.Fatal(err)
	}
	sent := want[:bytes.Index(want, []byte("##"))]
	half := len(sent) / 2
	if err := c.SendRaw(sent[:half], sent[half:]); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(&Transmission{Verb: SUB}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(said.Bytes(), append(bytes.Clone(v.Client[0]), v.Client[1]...)) {
		t.Error("the client said other bytes than the vectors")
	}
	c.out.next = math.MaxUint32
	said.Reset()
	if err := c.Send(&Transmission{Verb: SUB}); err != nil || !bytes.Equal(said.Bytes(), v.ClientLast) {
		t.Errorf("the last block there can be: %v", err)
	}
	said.Reset()
	if err := c.Send(&Transmission{Verb: SUB}); !errors.Is(err, ErrExhausted) || said.Len() > 0 {
		t.Errorf("one more: %v and %d bytes, want ErrExhausted and none", err, said.Len())
	}
}

func openVector(block []byte, h half) ([]byte, error) {
	var b buffer
	copy(b[:], block[TagSize:])
	err := h.open(block[:TagSize], &b)
	return b[:ContentSize], err
}

func TestVectorsSignature(t *testing.T) {
	v, key, _ := readVectors(t)
	for i, sig := range v.Signatures {
		if !Verify(&key.PublicKey, v.Signed, sig) {
			t.Errorf("signature %d: a salt of another length is refused", i)
		}
		sig[9] ^= 1
		if Verify(&key.PublicKey, v.Signed, sig) {
			t.Errorf("signature %d verifies when changed", i)
		}
	}
	o, err := ParseOutOfBand(v.OutOfBand)
	if err != nil || o.String() != v.OutOfBand || o.Server.String() != "smp2020://"+v.Hash+"@relay.example:5224" {
		t.Errorf("%v, %s", err, o.Server)
	}
}

func mustID(s string) ID {
	id, err := MakeID([]byte(s))
	if err != nil {
		panic(err)
	}
	return id
}
