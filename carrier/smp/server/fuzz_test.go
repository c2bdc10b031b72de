package smpserver

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"parley/broker"
	"parley/carrier/smp"
)

// seeds are lives of a queue, good and bad; R, S stand for its IDs.
func seeds(t testing.TB) []string {
	key := spki(t, keys()[1])
	return []string{
		"\n\nCONN " + key + "\n",
		"\nS\nSEND :hello\n\nS\nSEND 5\na\nb\r\n\n\n",
		sign(t, keys()[1], "R\nSUB") + "\nS\nSEND 3\nabc\n\n" + sign(t, keys()[1], "R\nHOLD") + sign(t, keys()[1], "R\nDEL"),
		"\nS\nSEND 0x5\nhello\n\n\nS\nSEND -1\n\n\nS\nSEND 99999999999999999999\n\n",
		"\r\n\r\nCONN " + key + "\r\n\r\nS\r\nSEND 3\r\nabc\r\n\r\n",
		"\n\nOK\n\n\nERR AUTH\n\n\nIDS R S\n\n\nMSG 2020-10-15T00:00:00Z :x\n\n\nEND\n",
		"####", "\n\n\n\n\n\n", strings.Repeat("A", 5000), "\x00\xff\n\xfe\nSEND :\n",
	}
}

// fuzz feeds text to one connection and waits until the server has ended it.
// Another one must go on.
func fuzz(t *testing.T, b *bench, plain bool, feed func(nc net.Conn)) {
	here, there := net.Pipe()
	b.accept(there, plain)
	here.SetDeadline(time.Now().Add(10 * time.Second))
	drained := make(chan struct{})
	if plain {
		go func() { io.Copy(io.Discard, here); close(drained) }()
	} else {
		close(drained)
	}
	feed(here)
	here.Close()
	<-drained
}

func FuzzPlain(f *testing.F) {
	b := newBench(f, Options{Trouble: func(string, error) {}}, broker.Options{Quota: 4})
	witness := b.telnet()
	rid, sid := witness.create()
	fill := strings.NewReplacer("R", rid, "S", sid)
	for _, s := range seeds(f) {
		f.Add([]byte(s))
		f.Add([]byte(fill.Replace(s)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		fuzz(t, b, true, func(nc net.Conn) { nc.Write(text) })
		witness.TB = t
		witness.send("\n\nPING\n").wantSomewhere("\n\nERR UNKNOWN\n")
	})
}

// wantSomewhere reads until text comes; messages may come before it.
func (c *telnet) wantSomewhere(text string) {
	c.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var got []byte
	for !strings.HasSuffix(string(got), text) {
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil {
			c.Fatalf("%v after %q", err, got)
		}
		got = append(got, b[0])
	}
}

// FuzzEncrypted puts any content into blocks that authenticate, and then any
// bytes after them.
func FuzzEncrypted(f *testing.F) {
	b := newBench(f, Options{Trouble: func(string, error) {}}, broker.Options{Quota: 4})
	for _, s := range seeds(f) {
		f.Add([]byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, content, rest []byte) {
		fuzz(t, b, false, func(nc net.Conn) {
			c, err := smp.Connect(nc, b.KeyHash())
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { io.Copy(io.Discard, nc); close(done) }()
			for len(content) > 0 {
				n := min(len(content), smp.ContentSize)
				if c.SendRaw(content[:n]) != nil {
					break
				}
				content = content[n:]
			}
			nc.Write(rest)
			nc.Close()
			<-done
		})
	})
}

func FuzzHandshake(f *testing.F) {
	b := newBench(f, Options{Trouble: func(string, error) {}}, broker.Options{})
	f.Add([]byte{})
	f.Add(make([]byte, 256))
	f.Add(make([]byte, 5000))
	f.Fuzz(func(t *testing.T, text []byte) {
		fuzz(t, b, true, func(nc net.Conn) {}) // and one that says nothing
		here, there := net.Pipe()
		b.accept(there, false)
		go func() { here.Write(text); here.Close() }()
		io.Copy(io.Discard, here)
	})
}

func FuzzParseCreators(f *testing.F) {
	key := spki(f, keys()[1])
	f.Add("# a comment\n\n" + key + "\n" + pemBegin + "\n" + key[:64] + "\n" + key[64:] + "\n" + pemEnd)
	f.Add(pemBegin)
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseCreators(strings.NewReader(text))
		if (err == nil) != (len(keys) > 0) || len(keys) > MaxCreators {
			t.Errorf("%d keys and %v", len(keys), err)
		}
	})
}

func TestParseCreators(t *testing.T) {
	key, large := spki(t, keys()[1]), spki(t, keys()[4])
	got, err := ParseCreators(strings.NewReader("# Alice\n" + key + "\r\n\n" + pemBegin + "\n" + large[:64] + "\n" + large[64:] + "\n" + pemEnd + "\n"))
	if err != nil || len(got) != 2 || !got[0].Equal(&keys()[1].PublicKey) || !got[1].Equal(&keys()[4].PublicKey) {
		t.Errorf("%d keys, %v", len(got), err)
	}
	for name, text := range map[string]string{
		"empty": "", "comments only": "# x\n", "not base64": "hello world", "no key": "AAAA",
		"PEM without end": pemBegin + "\n" + key, "end without PEM": pemEnd, "rubbish after a key": key + "\nx",
		"too many": strings.Repeat(key+"\n", MaxCreators+1), "PEM of something": pemBegin + "\nAAAA\n" + pemEnd,
		"endless PEM": pemBegin + strings.Repeat("\n"+key, 100), "a line too long": strings.Repeat("A", 100_000),
	} {
		if got, err := ParseCreators(strings.NewReader(text)); err == nil {
			t.Errorf("%s: %d keys", name, len(got))
		}
	}
}
