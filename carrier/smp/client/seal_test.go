package smpclient_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"parley"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
)

func sealFor(t testing.TB, plain []byte) ([]byte, error) {
	return smpclient.SealBody(&relayKey().PublicKey, plain)
}

// withKey makes a receiving endpoint whose RK and EK are relayKey.
func withKey(t testing.TB, at parley.Address, id smp.ID) parley.Endpoint {
	t.Helper()
	der := must(x509.MarshalPKCS8PrivateKey(relayKey()))(t)
	s := must(json.Marshal(map[string]any{"v": 1, "server": at, "rid": id.Bytes(), "rk": der, "ek": der}))(t)
	return parley.Endpoint{Secret: s}
}

// TestSealVector opens what another implementation sealed (../testdata/vectors.py).
func TestSealVector(t *testing.T) {
	var v struct{ Private, Inner, Sealed []byte }
	if err := json.Unmarshal(must(os.ReadFile("../testdata/vectors.json"))(t), &v); err != nil {
		t.Fatal(err)
	}
	key := must(x509.ParsePKCS8PrivateKey(v.Private))(t).(*rsa.PrivateKey)
	plain, err := smpclient.OpenBody(key, v.Sealed)
	if err != nil || !bytes.Equal(plain, v.Inner) {
		t.Fatalf("%q, %v", plain, err)
	}
	reserved, client, bind, err := smpclient.SplitBody(plain)
	if err != nil || !bytes.HasPrefix(reserved, []byte("KEY ")) || string(client) != "hello\nBob" {
		t.Fatalf("%q %q %v", reserved, client, err)
	}
	if want := must(smp.MarshalKey(&key.PublicKey))(t); !bytes.Equal(bind, want) {
		t.Error("another key than the one in it")
	}
	for i := 0; i < len(v.Sealed); i += 7 {
		bad := bytes.Clone(v.Sealed)
		bad[i] ^= 1
		if _, err := smpclient.OpenBody(key, bad); err == nil {
			t.Fatalf("opened with byte %d changed", i)
		}
	}
	for n := range len(v.Sealed) {
		if n%16 == 0 || n == len(v.Sealed)-1 {
			if _, err := smpclient.OpenBody(key, v.Sealed[:n]); err == nil {
				t.Fatalf("opened with %d bytes", n)
			}
		}
	}
}

func TestSplitBody(t *testing.T) {
	der := must(smp.MarshalKey(&relayKey().PublicKey))(t)
	key := "KEY " + base64.StdEncoding.EncodeToString(der)
	for in, want := range map[string]string{
		"\n\n": "", "\nx\n": "x", "!~\nx\n": "x", key + "\n\n": "", key + "\na\nb\n\n": "a\nb\n",
	} {
		_, client, bind, err := smpclient.SplitBody([]byte(in))
		if err != nil || string(client) != want || (bind != nil) != strings.HasPrefix(in, "KEY") {
			t.Errorf("%.20q: %q, %v", in, client, err)
		}
	}
	for _, in := range []string{"", "\n", "x", "x\n", "\nx", "a b\nx\n", "\x7f\nx\n", "é\nx\n", "KEY \nx\n", "KEY AAAA\nx\n",
		key + "\r\nx\n", key + " \nx\n", "KEY  " + key[4:] + "\nx\n", strings.Replace(key, "A", "A\r", 1) + "\nx\n"} {
		if _, _, _, err := smpclient.SplitBody([]byte(in)); err == nil {
			t.Errorf("%.40q is taken", in)
		}
	}
}

func FuzzSeal(f *testing.F) {
	f.Add([]byte("\nhello\n"))
	sealed := must(sealFor(f, []byte("KEY AAAA\nx\n")))(f)
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, in []byte) {
		if plain, err := smpclient.OpenBody(relayKey(), in); err == nil && !bytes.Equal(in, sealed) {
			t.Fatalf("%x opened as %q", in, plain)
		}
		back := must(sealFor(t, in))(t)
		if plain, err := smpclient.OpenBody(relayKey(), back); err != nil || !bytes.Equal(plain, in) {
			t.Fatal(err)
		}
		if reserved, client, _, err := smpclient.SplitBody(in); err == nil && len(reserved)+len(client)+2 != len(in) {
			t.Fatalf("%q was split into %q and %q", in, reserved, client)
		}
	})
}
