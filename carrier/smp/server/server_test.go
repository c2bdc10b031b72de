package smpserver

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/broker"
	"parley/broker/store"
	"parley/carrier/smp"
	"parley/parleytest"
)

// keys are made once; 0 is the server's own.
var keys = sync.OnceValue(func() []*rsa.PrivateKey {
	out := make([]*rsa.PrivateKey, 5)
	var g sync.WaitGroup
	for i := range out {
		g.Go(func() {
			bits := 2048
			if i == 4 {
				bits = 3072
			}
			out[i], _ = rsa.GenerateKey(rand.Reader, bits)
		})
	}
	g.Wait()
	return out
})

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func spki(t testing.TB, k *rsa.PrivateKey) string {
	t.Helper()
	der, err := smp.MarshalKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return b64(der)
}

// sign returns the transmission whose signed part is given, line ends as given.
func sign(t testing.TB, k *rsa.PrivateKey, signed string) string {
	t.Helper()
	h := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPSS(rand.Reader, k, crypto.SHA256, h[:], &rsa.PSSOptions{SaltLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	return b64(sig) + "\n" + signed + "\n"
}

// bench is a server over a memory store.
type bench struct {
	testing.TB
	*Server
	st *parleytest.MemStore
	b  *broker.Broker
}

func newBench(t testing.TB, o Options, bo broker.Options) *bench {
	t.Helper()
	st := parleytest.NewStore()
	b := broker.New(st, bo)
	if o.Trouble == nil {
		o.Trouble = func(what string, err error) { t.Errorf("trouble: %s: %v", what, err) }
	}
	s, err := New(b, keys()[0], o)
	if err != nil {
		t.Fatal(err)
	}
	x := &bench{t, s, st, b}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if n := s.Connections(); n != 0 {
			t.Errorf("%d connections after Shutdown", n)
		}
	})
	return x
}

// telnet is a raw plain connection.
type telnet struct {
	testing.TB
	net.Conn
	out chan string
}

func (b *bench) telnet() *telnet {
	b.Helper()
	here, there := net.Pipe()
	b.accept(there, true)
	c := &telnet{b, here, make(chan string, 1000)}
	go func() {
		for raw := range c.out {
			c.Conn.Write([]byte(raw))
		}
	}()
	b.Cleanup(func() { close(c.out); here.Close() })
	return c
}

// send writes in the background, in order: a pipe has no buffer.
func (c *telnet) send(raw string) *telnet {
	c.out <- raw
	return c
}

// want reads exactly this; # in it stands for any byte.
func (c *telnet) want(text string) *telnet {
	c.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len(text))
	n, err := io.ReadFull(c.Conn, got)
	if got = got[:n]; err != nil {
		c.Fatalf("got %q and %v, want %q", got, err, text)
	}
	for i := range got {
		if text[i] != '#' && text[i] != got[i] {
			c.Fatalf("got  %q\nwant %q", got, text)
		}
	}
	return c
}

// silent checks that nothing has been written, by an answer that must come next.
func (c *telnet) silent() *telnet {
	c.Helper()
	return c.send("\n\nPING\n").want("\n\nERR UNKNOWN\n")
}

// create makes a queue for keys()[1] and returns its IDs in base64.
func (c *telnet) create() (rid, sid string) {
	c.Helper()
	c.send("\n\nCONN " + spki(c, keys()[1]) + "\n")
	c.want("\n\nIDS ")
	ids := make([]byte, 24+1+24+1)
	if _, err := io.ReadFull(c.Conn, ids); err != nil {
		c.Fatal(err)
	}
	rid, sid, _ = strings.Cut(strings.TrimSuffix(string(ids), "\n"), " ")
	for _, id := range []string{rid, sid} {
		if b, err := base64.StdEncoding.Strict().DecodeString(id); err != nil || len(b) != 16 {
			c.Fatalf("IDS %q", ids)
		}
	}
	if rid == sid {
		c.Fatal("two equal IDs")
	}
	return rid, sid
}

// does sends a command of the recipient and wants the answer.
func (c *telnet) does(rid, command, answer string) *telnet {
	c.Helper()
	return c.send(sign(c, keys()[1], rid+"\n"+command)).want("\n" + rid + "\n" + answer + "\n")
}

const stamp = "####-##-##T##:##:##.###Z"

func msg(rid, body string) string { return "\n" + rid + "\nMSG " + stamp + " " + body + "\n" }

func TestAQueuesLife(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	alice, bob := b.telnet(), b.telnet()
	rid, sid := alice.create()

	// Anyone may send until the queue is secured; the creator is subscribed.
	bob.send("\n" + sid + "\nSEND :hello  bob\n").want("\n" + sid + "\nOK\n")
	alice.want(msg(rid, ":hello  bob"))
	alice.does(rid, "ACK", "OK")
	bob.send("\n" + sid + "\nSEND 7\na\nb\r\x00\n\n\n\n").want("\n" + sid + "\nOK\n")
	alice.want(msg(rid, "7\na\nb\r\x00\n\n\n"))
	alice.does(rid, "ACK", "OK")
	alice.does(rid, "ACK", "ERR PROHIBITED")

	alice.does(rid, "KEY "+spki(t, keys()[2]), "OK")
	alice.does(rid, "KEY "+spki(t, keys()[2]), "OK")
	alice.does(rid, "KEY "+spki(t, keys()[3]), "ERR AUTH")
	bob.send("\n" + sid + "\nSEND :unsigned\n").want("\n" + sid + "\nERR AUTH\n")
	bob.send(sign(t, keys()[3], sid+"\nSEND :forged")).want("\n" + sid + "\nERR AUTH\n")
	bob.send(sign(t, keys()[2], sid+"\nSEND :")).want("\n" + sid + "\nOK\n")
	alice.want(msg(rid, ":"))

	// What a signature is over is what came, CRLF inside included.
	signed := sid + "\r\nSEND 3\r\nx\ny\r\n"
	bob.send(strings.Replace(sign(t, keys()[2], signed), "\n", "\r\n", 1)).want("\n" + sid + "\nOK\n")

	// One unacknowledged message at a time, then the next, after OK.
	alice.silent().does(rid, "ACK", "OK").want(msg(rid, "3\nx\ny\n"))

	// A second subscriber takes over and is given what was not acknowledged.
	carol := b.telnet()
	carol.does(rid, "SUB", "OK").want(msg(rid, "3\nx\ny\n"))
	alice.want("\n"+rid+"\nEND\n").does(rid, "ACK", "ERR PROHIBITED")
	bob.send(sign(t, keys()[2], sid+"\nSEND :more")).want("\n" + sid + "\nOK\n")
	alice.silent()

	// HOLD is answered after the last ACK; what came behind it is carried out at
	// once and answered after it.
	carol.send(sign(t, keys()[1], rid+"\nHOLD")).send(sign(t, keys()[1], rid+"\nACK"))
	carol.want(msg(rid, ":more"))
	bob.send(sign(t, keys()[2], sid+"\nSEND :late")).want("\n" + sid + "\nERR AUTH\n")
	alice.does(rid, "DEL", "OK")
	carol.want("\n" + rid + "\nERR AUTH\n\n" + rid + "\nOK\n\n" + rid + "\nEND\n")
	carol.does(rid, "SUB", "ERR AUTH")
	bob.send(sign(t, keys()[2], sid+"\nSEND :gone")).want("\n" + sid + "\nERR AUTH\n")
}

func TestHoldWaitsForTheLastAck(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	alice, bob := b.telnet(), b.telnet()
	rid, sid := alice.create()
	other, _ := alice.create()
	for i := range 3 {
		bob.send(fmt.Sprintf("\n%s\nSEND :m%d\n", sid, i)).want("\n" + sid + "\nOK\n")
	}
	alice.want(msg(rid, ":m0"))
	hold, ack := sign(t, keys()[1], rid+"\nHOLD"), sign(t, keys()[1], rid+"\nACK")
	alice.send(hold).silent()
	alice.does(other, "HOLD", "OK") // another queue doesn't wait
	alice.send(ack).want(msg(rid, ":m1"))
	alice.send(hold).silent()
	alice.send(ack).want(msg(rid, ":m2"))
	alice.send(ack)
	for range 5 { // HOLD, ACK, HOLD, ACK, ACK
		alice.want("\n" + rid + "\nOK\n")
	}
	alice.does(rid, "HOLD", "OK")
	alice.does(rid, "SUB", "OK")
	alice.does(rid, "ACK", "ERR PROHIBITED")
	bob.send("\n" + sid + "\nSEND :no\n").want("\n" + sid + "\nERR AUTH\n")
	alice.does(rid, "DEL", "OK")
}

// Each error of the text, by raw bytes. $R and $S stand for the IDs of a queue,
// and the connection must go on after each.
func TestErrors(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	c := b.telnet()
	rid, sid := c.create()
	r, s := keys()[1], keys()[2]
	nobody := b64([]byte("0123456789abcdef"))
	long := b64([]byte("0123456789abcdef0123"))
	key := spki(t, r)
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	smallDER := b64(marshalPKIX(t, small))
	for _, x := range []struct{ name, in, answer string }{
		{"unknown command", "\n\nHELO\n", "\n\nERR UNKNOWN\n"},
		{"empty command", "\n\n\n", "\n\nERR UNKNOWN\n"},
		{"lower case", sign(t, r, rid+"\nsub"), "\n" + rid + "\nERR UNKNOWN\n"},
		{"response OK", "\n\nOK\n", "\n\nERR PROHIBITED\n"},
		{"response ERR", "\n" + rid + "\nERR AUTH\n", "\n" + rid + "\nERR PROHIBITED\n"},
		{"response IDS", "\n\nIDS " + rid + " " + sid + "\n", "\n\nERR PROHIBITED\n"},
		{"response END", "\n" + rid + "\nEND\n", "\n" + rid + "\nERR PROHIBITED\n"},
		{"signature not base64", "!!!\n" + rid + "\nSUB\n", "\n" + rid + "\nERR SYNTAX 2\n"},
		{"signature without padding", "YQ\n" + rid + "\nSUB\n", "\n" + rid + "\nERR SYNTAX 2\n"},
		{"ID not base64", "\n*\nSUB\n", "\n\nERR SYNTAX 2\n"},
		{"CONN without key", "\n\nCONN\n", "\n\nERR SYNTAX 2\n"},
		{"CONN with rubbish", "\n\nCONN AAAA\n", "\n\nERR SYNTAX 2\n"},
		{"CONN with a short key", "\n\nCONN " + smallDER + "\n", "\n\nERR SYNTAX 2\n"},
		{"CONN with two keys", "\n\nCONN " + key + " " + key + "\n", "\n\nERR SYNTAX 2\n"},
		{"KEY with rubbish", sign(t, r, rid+"\nKEY AAAA"), "\n" + rid + "\nERR SYNTAX 2\n"},
		{"SUB with a parameter", sign(t, r, rid+"\nSUB x"), "\n" + rid + "\nERR SYNTAX 2\n"},
		{"SEND without body", "\n" + sid + "\nSEND\n", "\n" + sid + "\nERR SYNTAX 2\n"},
		{"SUB unsigned", "\n" + rid + "\nSUB\n", "\n" + rid + "\nERR SYNTAX 3\n"},
		{"ACK without ID", sign(t, r, "\nACK"), "\n\nERR SYNTAX 3\n"},
		{"CONN with ID", "\n" + rid + "\nCONN " + key + "\n", "\n" + rid + "\nERR SYNTAX 4\n"},
		{"CONN signed", sign(t, r, "\nCONN "+key), "\n\nERR SYNTAX 4\n"},
		{"SEND without ID", "\n\nSEND :x\n", "\n\nERR SYNTAX 5\n"},
		{"hexadecimal size", "\n" + sid + "\nSEND 0x5\nhello\n\n", "\n" + sid + "\nERR SYNTAX 6\n"},
		{"size in brackets", "\n" + sid + "\nSEND (5)\nhello\n\n", "\n" + sid + "\nERR SYNTAX 6\n"},
		{"negative size", "\n" + sid + "\nSEND -1\n\n\n", "\n" + sid + "\nERR SYNTAX 6\n"},
		{"body without colon", "\n" + sid + "\nSEND hello\n", "\n" + sid + "\nERR SYNTAX 6\n"},
		{"body shorter than its size", "\n" + sid + "\nSEND 3\nabcde\n\n", "\n" + sid + "\nERR SIZE\n"},
		{"body too large", "\n" + sid + "\nSEND 65537\n" + strings.Repeat("x", 65537) + "\n\n", "\n" + sid + "\nERR SIZE\n"},
		{"string too large", "\n" + sid + "\nSEND :" + strings.Repeat("x", 65537) + "\n", "\n" + sid + "\nERR SIZE\n"},
		{"no such queue", sign(t, r, nobody+"\nSUB"), "\n" + nobody + "\nERR AUTH\n"},
		{"an ID of 20 bytes", sign(t, r, long+"\nSUB"), "\n" + long + "\nERR AUTH\n"},
		{"sender's ID for SUB", sign(t, r, sid+"\nSUB"), "\n" + sid + "\nERR AUTH\n"},
		{"sender's ID for KEY", sign(t, r, sid+"\nKEY "+key), "\n" + sid + "\nERR AUTH\n"},
		{"sender's ID for ACK", sign(t, r, sid+"\nACK"), "\n" + sid + "\nERR AUTH\n"},
		{"sender's ID for HOLD", sign(t, r, sid+"\nHOLD"), "\n" + sid + "\nERR AUTH\n"},
		{"sender's ID for DEL", sign(t, r, sid+"\nDEL"), "\n" + sid + "\nERR AUTH\n"},
		{"recipient's ID for SEND", "\n" + rid + "\nSEND :x\n", "\n" + rid + "\nERR AUTH\n"},
		{"recipient's ID for SEND, signed", sign(t, r, rid+"\nSEND :x"), "\n" + rid + "\nERR AUTH\n"},
		{"signed with another key", sign(t, s, rid+"\nSUB"), "\n" + rid + "\nERR AUTH\n"},
		{"signed with another size", sign(t, keys()[4], rid+"\nSUB"), "\n" + rid + "\nERR AUTH\n"},
		{"signature of another command", strings.Replace(sign(t, r, rid+"\nSUB"), "SUB", "DEL", 1), "\n" + rid + "\nERR AUTH\n"},
		{"a short signature", "AAAA\n" + rid + "\nSUB\n", "\n" + rid + "\nERR AUTH\n"},
		{"SEND signed, not secured", sign(t, s, sid+"\nSEND :x"), "\n" + sid + "\nERR AUTH\n"},
		{"SEND to nobody", "\n" + nobody + "\nSEND :x\n", "\n" + nobody + "\nERR AUTH\n"},
		{"ACK of nothing", sign(t, r, rid+"\nACK"), "\n" + rid + "\nERR PROHIBITED\n"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c.TB = t
			c.send(x.in).want(x.answer).silent()
		})
	}
	c.TB = t
	if n, _ := b.st.Len(t.Context(), storeID(t, rid)); n != 0 {
		t.Errorf("%d messages came of errors", n)
	}
	c.does(rid, "SUB", "OK")
}

func TestQuota(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{Quota: 2, Subscriptions: 1})
	c, bob := b.telnet(), b.telnet()
	rid, sid := c.create()
	send := "\n" + sid + "\nSEND :x\n"
	bob.send(send).want("\n" + sid + "\nOK\n")
	bob.send(send).want("\n" + sid + "\nOK\n")
	bob.send(send).want("\n" + sid + "\nERR QUOTA\n")
	c.want(msg(rid, ":x")).does(rid, "ACK", "OK").want(msg(rid, ":x"))
	bob.send(send).want("\n" + sid + "\nOK\n")
	c.send("\n\nCONN " + spki(t, keys()[1]) + "\n").want("\n\nERR QUOTA\n")
}

func TestCreators(t *testing.T) {
	b := newBench(t, Options{Creators: []*rsa.PublicKey{&keys()[2].PublicKey, &keys()[4].PublicKey}}, broker.Options{})
	c := b.telnet()
	conn := "\nCONN " + spki(t, keys()[1])
	c.send("\n" + conn + "\n").want("\n\nERR SYNTAX 3\n")
	c.send(sign(t, keys()[3], conn)).want("\n\nERR AUTH\n")
	for _, k := range []int{2, 4} {
		c.send(sign(t, keys()[k], conn)).want("\n\nIDS ########################" + " ########################\n")
	}
}

func TestNothingIsKeptAfterAck(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	c := b.telnet()
	rid, sid := c.create()
	b.telnet().send("\n" + sid + "\nSEND :secret\n").want("\n" + sid + "\nOK\n")
	c.want(msg(rid, ":secret"))
	c.does(rid, "ACK", "OK")
	if n, err := b.st.Len(t.Context(), storeID(t, rid)); n != 0 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
	c.does(rid, "DEL", "OK")
	if _, err := b.st.Len(t.Context(), storeID(t, rid)); err == nil {
		t.Error("the queue is still there")
	}
}

func marshalPKIX(t testing.TB, k *rsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func storeID(t testing.TB, id string) (out store.ID) {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	copy(out[:], b)
	return out
}
