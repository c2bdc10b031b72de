package smpclient_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"parley"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
)

func mailboxes(t testing.TB) (all []smpclient.Mailbox) {
	ek := &relayKey().PublicKey
	for _, s := range []smp.Server{
		{Host: "relay.example", Port: 5223, KeyHash: smp.KeyHash{1, 2}}, {Host: "::1", Port: 1, KeyHash: smp.KeyHash{255}},
		{Host: "127.0.0.1", Port: 65535, Plain: true},
	} {
		for _, bare := range []bool{false, true} {
			all = append(all, smpclient.Mailbox{Server: s, Sender: sid(t), EK: ek, Bare: bare})
		}
	}
	return all
}

func same(a, b smpclient.Mailbox) bool {
	return a.Server == b.Server && a.Sender == b.Sender && a.EK.Equal(b.EK) && a.Bare == b.Bare
}

func TestMailboxForms(t *testing.T) {
	for _, m := range mailboxes(t) {
		a := m.Address()
		if back, err := smpclient.ParseMailbox(a); err != nil || !same(m, back) {
			t.Errorf("%s: %v", a, err)
		}
		b := must(m.AppendBinary(nil))(t)
		back, rest, err := smpclient.ParseBinary(append(bytes.Clone(b), "rest"...))
		if err != nil || !same(m, back) || string(rest) != "rest" {
			t.Errorf("%s: binary: %v, %q", a, err, rest)
		}
		if !m.Server.Plain && len(b) != 311+len(m.Server.Host) {
			t.Errorf("the binary form has %d bytes and the host", len(b)-len(m.Server.Host))
		}
		for n := range b {
			if _, _, err := smpclient.ParseBinary(b[:n]); err == nil {
				t.Fatalf("%d of %d bytes are taken", n, len(b))
			}
		}
		line, err := m.OutOfBand()
		if (err != nil) != m.Server.Plain {
			t.Errorf("%s: out of band: %v", a, err)
		}
		if err == nil {
			if back, err := smpclient.FromOutOfBand(line); err != nil || back.Server != m.Server || !back.EK.Equal(m.EK) || !back.Bare {
				t.Errorf("%s: out of band: %v", a, err)
			}
		}
		if r, err := smpclient.Relay(a); err != nil || r != parley.Address(m.Server.String()) {
			t.Errorf("%s: relay %s, %v", a, r, err)
		}
		if bare := smpclient.Bare(a); smpclient.Bare(bare) != bare || !must(smpclient.ParseMailbox(bare))(t).Bare {
			t.Errorf("%s made bare is %s", a, bare)
		}
	}
}

func TestBadMailboxes(t *testing.T) {
	m := mailboxes(t)[0]
	good := string(m.Address())
	id := base64.RawURLEncoding.EncodeToString(m.Sender.Bytes())
	for name, a := range map[string]string{
		"relay": m.Server.String(), "no ID": strings.Replace(good, "/"+id, "/", 1), "padded ID": strings.Replace(good, id, id+"==", 1),
		"long ID": strings.Replace(good, id, strings.Repeat("AAAA", 9), 1), "no key": good[:strings.Index(good, "#")], "no key after the mark": good[:strings.Index(good, "#")] + "#bare:",
		"short key": good[:len(good)-20], "another mark": strings.Replace(good, "#", "#full:", 1), "two IDs": strings.Replace(good, "/"+id, "/"+id+"/"+id, 1),
		"query": strings.Replace(good, "#", "?x=y#", 1), "space": good + " ", "line end": good + "\n", "even key": good[:len(good)-2] + "AA",
		"zeros before the key": strings.Replace(good, "#", "#AAAA", 1),
	} {
		if _, err := smpclient.ParseMailbox(parley.Address(a)); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := must(m.AppendBinary(nil))(t)
	for name, change := range map[string]func([]byte){
		"flags": func(b []byte) { b[0] = 4 }, "port 0": func(b []byte) { b[33], b[34] = 0, 0 },
		"host": func(b []byte) { b[36] = '/' }, "host end": func(b []byte) { b[36] = '@' }, "ID": func(b []byte) { b[35+1+13] = 25 },
	} {
		bad := bytes.Clone(b)
		change(bad)
		if _, _, err := smpclient.ParseBinary(bad); !errors.Is(err, parley.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzMailbox(f *testing.F) {
	for _, m := range mailboxes(f) {
		f.Add(string(m.Address()))
	}
	f.Fuzz(func(t *testing.T, in string) {
		m, err := smpclient.ParseMailbox(parley.Address(in))
		if err != nil {
			return
		}
		if back, err := smpclient.ParseMailbox(m.Address()); err != nil || !same(m, back) {
			t.Fatalf("%q: %v", in, err)
		}
	})
}

func FuzzBinary(f *testing.F) {
	for _, m := range mailboxes(f) {
		f.Add(must(m.AppendBinary(nil))(f))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, rest, err := smpclient.ParseBinary(in)
		if err != nil {
			return
		}
		if b := must(m.AppendBinary(nil))(t); !bytes.Equal(append(b, rest...), in) {
			t.Fatalf("%x was %x", in, b)
		}
	})
}

func FuzzSecret(f *testing.F) {
	f.Add(withKey(f, "smp2020-plain://127.0.0.1:1", sid(f)).Secret)
	f.Add([]byte(`{"v":1,"server":"smp2020-plain://127.0.0.1:1","sid":"AAAA","sk":"","ekpub":""}`))
	c := smpclient.New(smpclient.Options{})
	f.Fuzz(func(t *testing.T, in []byte) {
		smpclient.CheckEndpoint(c, parley.Endpoint{Secret: in})
	})
}
