package smp

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// drain reads all transmissions; each must be written as it means, and errors
// must end the stream or let it go on.
func drain(t *testing.T, c *Conn, most int) (all []string) {
	for range most {
		var tr Transmission
		err := c.Next(&tr)
		var bad *SyntaxError
		switch {
		case errors.As(err, &bad):
			if bad.Code == 0 {
				t.Fatal("an error without code")
			}
			all = append(all, bad.Code.String()+bad.ID.String())
			continue
		case err != nil:
			return all
		}
		all = append(all, string(tr.AppendSigned(nil)))
		var again Transmission
		raw := tr.Append(nil)
		if n, err := again.parse(raw, c.limit); err != nil || n != len(raw) {
			t.Fatalf("%q was written as %q, which is %v", tr.Signed, raw, err)
		}
		if !bytes.Equal(again.Append(nil), raw) {
			t.Fatalf("%q and %q", raw, again.Append(nil))
		}
	}
	t.Fatal("more transmissions than bytes")
	return nil
}

func seed(f *testing.F) {
	for _, c := range parseCases {
		f.Add([]byte(c.in+goodSub), true)
	}
	f.Add([]byte("\n\nIDS AAAA BBBB\n\n"+sid16+"\nMSG 2020-10-15T12:00:00Z 3\na\nb\n\n\n\nERR SYNTAX 2\n"), false)
}

// FuzzPlain: a stream of lines reads the same however it is cut.
func FuzzPlain(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte, server bool) {
		side := ClientSide
		if server {
			side = ServerSide
		}
		whole := drain(t, stream(bytes.NewReader(in), side), len(in)+2)
		cut := drain(t, stream(iotest.OneByteReader(bytes.NewReader(in)), side), len(in)+2)
		if len(whole) != len(cut) {
			t.Fatalf("%q\n%q", whole, cut)
		}
		for i := range whole {
			if whole[i] != cut[i] {
				t.Fatalf("%q and %q", whole[i], cut[i])
			}
		}
	})
}

func FuzzBlock(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte, server bool) {
		side := ClientSide
		if server {
			side = ServerSide
		}
		drain(t, inBlock(t, string(in[:min(len(in), ContentSize)]), side), ContentSize+2)
	})
}

func FuzzServerHello(f *testing.F) {
	v, _, id := readVectors(f)
	f.Add(v.Hello)
	f.Add(append(bytes.Clone(v.Hello), v.Welcome...))
	f.Fuzz(func(t *testing.T, in []byte) {
		if c, err := Connect(&readConn{r: bytes.NewReader(in), w: io.Discard}, id.hash); err == nil {
			t.Fatalf("%v: a welcome for keys that nobody has seen", c)
		}
		if len(in) > 8 {
			readHello(bytes.NewReader(in), HashKey(in[8:]))
		}
	})
}

func FuzzClientHello(f *testing.F) {
	v, key, id := readVectors(f)
	header, err := key.Decrypt(nil, v.Header, &rsa.OAEPOptions{Hash: crypto.SHA256})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(header)
	f.Add(v.Header)
	f.Fuzz(func(t *testing.T, in []byte) {
		if in, out, err := parseHeader(in); err == nil && (in.aead == nil || out.aead == nil) {
			t.Fatal("no keys")
		}
		id.Accept(&readConn{r: bytes.NewReader(in), w: io.Discard})
	})
}

func FuzzAddress(f *testing.F) {
	f.Add("smp2020://" + hash43 + "@relay.example:5224/x#y")
	f.Add("smp2020-plain://[::1]:1")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseServer(in)
		if err != nil {
			return
		}
		if again, err := ParseServer(s.String()); err != nil || again != s {
			t.Fatalf("%q: %s, %v", in, s, err)
		}
	})
}

func FuzzOutOfBand(f *testing.F) {
	v, _, _ := readVectors(f)
	f.Add(v.OutOfBand)
	f.Fuzz(func(t *testing.T, in string) {
		o, err := ParseOutOfBand(in)
		if err != nil {
			return
		}
		again, err := ParseOutOfBand(o.String())
		if err != nil || again.String() != o.String() {
			t.Fatalf("%q: %s, %v", in, o, err)
		}
	})
}
