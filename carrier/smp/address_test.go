package smp

import (
	"strings"
	"testing"
)

const hash43 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

func TestServerAddress(t *testing.T) {
	for in, want := range map[string]string{
		"smp2020://" + hash43 + "@relay.example:5224": "",
		"smp2020://" + hash43 + "@127.0.0.1:1":        "",
		"smp2020://" + hash43 + "@[::1]:5223":         "",
		"smp2020://" + hash43 + "@relay.example":      "smp2020://" + hash43 + "@relay.example:5223",
		"smp2020://" + hash43 + "@relay.example/":     "smp2020://" + hash43 + "@relay.example:5223",
		"smp2020-plain://localhost:9":                 "",
		"smp2020-plain://[::1]":                       "smp2020-plain://[::1]:5223",
	} {
		if want == "" {
			want = in
		}
		s, err := ParseServer(in)
		if err != nil || s.String() != want {
			t.Errorf("%s: %v, %s", in, err, s)
		}
		if again, err := ParseServer(s.String()); err != nil || again != s {
			t.Errorf("%s: again %v, %+v", in, err, again)
		}
	}
	for _, in := range []string{
		"", "relay.example", "http://" + hash43 + "@relay.example", "smp2020://relay.example", "smp2020://x@relay.example",
		"smp2020://" + hash43 + "A@relay.example", "smp2020://" + hash43 + "=@relay.example", "smp2020://" + hash43 + ":pass@relay.example",
		"smp2020://" + strings.Replace(hash43, "8", "9", 1)[:42] + "!@relay.example",
		"smp2020://" + hash43 + "@", "smp2020://" + hash43 + "@:5223", "smp2020://" + hash43 + "@relay.example:0",
		"smp2020://" + hash43 + "@relay.example:65536", "smp2020://" + hash43 + "@relay.example:-1", "smp2020://" + hash43 + "@relay.example:",
		"smp2020://" + hash43 + "@-x.example", "smp2020://" + hash43 + "@a..b", "smp2020://" + hash43 + "@a_b", "smp2020://" + hash43 + "@::1",
		"smp2020://" + hash43 + "@[127.0.0.1]:1", "smp2020://" + hash43 + "@[fe80::1%25lo]:1", "smp2020://" + hash43 + "@[::1", "smp2020://" + hash43 + "@[::1]x",
		"smp2020://" + hash43 + "@relay.example/x", "smp2020://" + hash43 + "@relay.example#x", "smp2020://" + hash43 + "@relay.example?x", "smp2020://" + hash43 + "@relay.example?",
		"smp2020://" + hash43 + "@" + strings.Repeat("a", 64) + ".example", "smp2020://" + hash43 + "@" + strings.Repeat("a.", 200) + "a",
		"smp2020-plain://" + hash43 + "@localhost", "smp2020:" + hash43 + "@x", "smp2020://" + hash43 + "@x/" + strings.Repeat("a", 5000),
		"smp2020://" + hash43 + "@relay.example\n", "smp2020://" + hash43 + "@rel%61y.example",
	} {
		if s, err := ParseServer(in); err == nil {
			t.Errorf("%q was taken for %s", in, s)
		}
	}
	for host, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "localhost": true, "::ffff:127.0.0.1": true, "10.0.0.1": false, "localhost.example": false, "0.0.0.0": false} {
		if got := (Server{Host: host}).Loopback(); got != want {
			t.Errorf("Loopback of %s is %v", host, got)
		}
	}
}

func TestOutOfBand(t *testing.T) {
	v, _, _ := readVectors(t)
	f := strings.Split(v.OutOfBand, " ")
	for _, server := range []string{"relay.example", "relay.example:1", "192.0.2.1", "[2001:db8::1]", "[2001:db8::1]:99"} {
		line := f[0] + " " + f[1] + " " + server + " " + f[3]
		o, err := ParseOutOfBand(line)
		if err != nil || o.String() != line {
			t.Errorf("%s: %v, %s", server, err, o)
		}
		if o, err = ParseOutOfBand(line + "\r\n"); err != nil || o.String() != line {
			t.Errorf("%s and CRLF: %v", server, err)
		}
	}
	for name, line := range map[string]string{
		"empty": "", "three fields": strings.Join(f[:3], " "), "five": v.OutOfBand + " x", "two spaces": strings.Replace(v.OutOfBand, " ", "  ", 1),
		"no key": " " + strings.Join(f[1:], " "), "bad key": "AAAA " + strings.Join(f[1:], " "), "key unpadded": strings.TrimRight(f[0], "=") + "A " + strings.Join(f[1:], " "),
		"no ID": f[0] + "  " + f[2] + " " + f[3], "bad ID": f[0] + " ! " + f[2] + " " + f[3], "long ID": f[0] + " " + strings.Repeat("AAAA", 300) + " " + f[2] + " " + f[3],
		"no server": f[0] + " " + f[1] + "  " + f[3], "bad port": f[0] + " " + f[1] + " x:y " + f[3], "short hash": f[0] + " " + f[1] + " " + f[2] + " AAAA",
		"url hash": f[0] + " " + f[1] + " " + f[2] + " " + hash43, "tab": strings.Replace(v.OutOfBand, " ", "\t", 1), "line end inside": strings.Replace(v.OutOfBand, " ", " \n", 1),
		"two line ends": v.OutOfBand + "\n\n", "CR in the key": "A\r" + v.OutOfBand[1:], "endless": strings.Repeat("A", 1<<20),
	} {
		if _, err := ParseOutOfBand(line); err == nil {
			t.Errorf("%s: %q is taken", name, line)
		}
	}
}
