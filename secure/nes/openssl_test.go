package nes

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"parley/internal/rsakey"
	"parley/parleytest"
)

// openssl runs the command line in a folder with the users' keys.
type openssl struct {
	t    *testing.T
	path string
	dir  string
}

func newOpenSSL(t *testing.T) *openssl {
	o := &openssl{t, parleytest.Need(t, "openssl"), t.TempDir()}
	for _, user := range []string{"alice", "bob", "carol"} {
		k := keysOf(t, user)
		o.write(user+"-m", rsakey.EncodePrivate(k.message))
		o.write(user+"-s", rsakey.EncodePrivate(k.sign))
		o.write(user+"-m.pub", rsakey.EncodePublic(&k.message.PublicKey))
		o.write(user+"-s.pub", rsakey.EncodePublic(&k.sign.PublicKey))
	}
	return o
}

func (o *openssl) write(name string, b []byte) {
	o.t.Helper()
	must(o.t, os.WriteFile(filepath.Join(o.dir, name), b, 0o600))
}

func (o *openssl) run(args string, more ...string) []byte {
	o.t.Helper()
	cmd := exec.Command(o.path, append(strings.Fields(args), more...)...)
	cmd.Dir = o.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatalf("openssl %s: %v: %s", args, err, &stderr)
	}
	return out
}

// What Seal writes, another implementation of RSA and AES decrypts and verifies.
func TestOpenSSLOpens(t *testing.T) {
	o := newOpenSSL(t)
	for _, way := range [][2]string{{"alice", "bob"}, {"carol", "alice"}, {"bob", "carol"}} {
		m := Message{From: way[0], To: way[1], Time: 1642802942123, Text: "żółw <&> \u2028 \x1b 🐢"}
		sealed, _, err := Seal(m, &keysOf(t, way[1]).message.PublicKey, keysOf(t, way[0]).sign)
		must(t, err)
		var e struct{ Cipherkey, Ciphertext, Signature string }
		must(t, json.Unmarshal(sealed, &e))
		for name, text := range map[string]string{"k": e.Cipherkey, "c": e.Ciphertext, "s": e.Signature} {
			o.write(name+".txt", []byte(strings.NewReplacer("-", "+", "_", "/").Replace(text)))
			o.run("base64 -d -A -in "+name+".txt -out", name)
		}
		material := o.run("pkeyutl -decrypt -pkeyopt rsa_padding_mode:pkcs1 -in k -inkey", way[1]+"-m")
		if len(material) != 48 {
			t.Fatalf("%d bytes of key material", len(material))
		}
		o.run("enc -d -aes-256-cbc -in c -out p -K", hex.EncodeToString(material[:32]), "-iv", hex.EncodeToString(material[32:]))
		o.run("dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:max -signature s -verify", way[0]+"-s.pub", "p")
		got, err := os.ReadFile(filepath.Join(o.dir, "p"))
		want, _ := m.plaintext()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// What another implementation seals, opens.
func TestOpenSSLSeals(t *testing.T) {
	o := newOpenSSL(t)
	for _, way := range [][2]string{{"alice", "bob"}, {"carol", "alice"}, {"bob", "carol"}} {
		for _, salt := range []string{"max", "digest", "0"} {
			o.write("p", []byte(`{"from":"`+way[0]+`","to":"`+way[1]+`","timestamp":1642802942123,"message":"z openssl \u003c\u0026"}`))
			o.run("rand -out k 48")
			material, err := os.ReadFile(filepath.Join(o.dir, "k"))
			must(t, err)
			e := envelope{
				cipherkey:  o.run("pkeyutl -encrypt -pkeyopt rsa_padding_mode:pkcs1 -in k -pubin -inkey", way[1]+"-m.pub"),
				ciphertext: o.run("enc -aes-256-cbc -in p -K", hex.EncodeToString(material[:32]), "-iv", hex.EncodeToString(material[32:])),
				signature:  o.run("dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:"+salt+" -sign", way[0]+"-s", "p"),
			}
			m, err := open(t, e.marshal(), way[1])
			if err != nil || m.From != way[0] || m.Text != "z openssl <&" || m.Time != 1642802942123 {
				t.Errorf("%v with a salt of %s: %+v, %v", way, salt, m, err)
			}
		}
	}
}
