package smpserver

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"parley/broker"
	"parley/broker/store"
	"parley/carrier/smp"
	"parley/parleytest"
)

// A device is an encrypted connection.
type device struct {
	testing.TB
	*smp.Conn
	key *rsa.PrivateKey
}

// device connects over a pipe.
func (b *bench) device() *device {
	b.Helper()
	here, there := net.Pipe()
	b.accept(there, false)
	return newDevice(b, here, b.KeyHash())
}

func newDevice(t testing.TB, nc net.Conn, hash smp.KeyHash) *device {
	t.Helper()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := smp.Connect(nc, hash)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &device{t, c, keys()[1]}
}

// raw returns a command as it goes over the wire, signed if signed.
func (d *device) raw(tr smp.Transmission, signed bool) []byte {
	d.Helper()
	if signed {
		if err := tr.Sign(d.key); err != nil {
			d.Fatal(err)
		}
	}
	return tr.Append(nil)
}

func (d *device) send(raw ...[]byte) {
	d.Helper()
	if err := d.SendRaw(raw...); err != nil {
		d.Fatal(err)
	}
}

func (d *device) next() smp.Transmission {
	d.Helper()
	var t smp.Transmission
	if err := d.Next(&t); err != nil {
		d.Fatal(err)
	}
	return t.Clone()
}

// want reads a response of that verb, and code if it is an error.
func (d *device) want(id smp.ID, verb smp.Verb, code smp.Code) smp.Transmission {
	d.Helper()
	t := d.next()
	if t.ID != id || t.Verb != verb || t.Code != code {
		d.Fatalf("got %v %v %v, want %v %v %v", t.ID, t.Verb, t.Code, id, verb, code)
	}
	return t
}

func (d *device) create() (rid, sid smp.ID) {
	d.Helper()
	der, err := smp.MarshalKey(&d.key.PublicKey)
	if err != nil {
		d.Fatal(err)
	}
	d.send(d.raw(smp.Transmission{Verb: smp.CONN, Key: der}, false))
	t := d.want(smp.ID{}, smp.IDS, 0)
	return t.Recipient, t.Sender
}

func (d *device) does(rid smp.ID, verb smp.Verb) {
	d.Helper()
	d.send(d.raw(smp.Transmission{Verb: verb, ID: rid}, true))
	d.want(rid, smp.OK, 0)
}

func TestEncryptedLife(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	alice, bob := b.device(), b.device()
	rid, sid := alice.create()
	big := bytes.Repeat([]byte("\n#"), smp.MaxBodyBlock/2)
	for i, body := range [][]byte{[]byte("hello"), {}, []byte("##\n"), big} {
		bob.send(bob.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: body}, false))
		bob.want(sid, smp.OK, 0)
		m := alice.want(rid, smp.MSG, 0)
		if !bytes.Equal(m.Body, body) || time.Since(m.Time) > time.Minute {
			t.Fatalf("message %d came as %d bytes of %v", i, len(m.Body), m.Time)
		}
		alice.does(rid, smp.ACK)
	}
	// One byte more than a MSG can carry is refused, and the connection goes on.
	bob.send([]byte(fmt.Sprintf("\n%s\nSEND %d\n%s\n\n", sid, smp.MaxBodyBlock+1, bytes.Repeat([]byte{0}, smp.MaxBodyBlock+1))))
	bob.want(sid, smp.ERR, smp.CodeSize)
	alice.does(rid, smp.SUB)
}

// A plain connection may send more than a block holds, but not to the queue of
// an encrypted recipient; and an encrypted one cannot take over what it cannot
// be given.
func TestQueuesOfBothTransports(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	alice, telnet := b.device(), b.telnet()
	_, sid := alice.create()
	large := string(bytes.Repeat([]byte{'x'}, smp.MaxBodyPlain))
	telnet.send("\n" + sid.String() + "\nSEND :" + large[:smp.MaxBodyBlock+1] + "\n").want("\n" + sid.String() + "\nERR SIZE\n")
	telnet.send("\n" + sid.String() + "\nSEND :fits\n").want("\n" + sid.String() + "\nOK\n")
	alice.next()

	prid, psid := telnet.create()
	b.telnet().send("\n" + psid + "\nSEND :" + large + "\n").want("\n" + psid + "\nOK\n")
	telnet.want(msg(prid, ":"+large))
	var id smp.ID
	if raw := storeID(t, prid); true {
		id, _ = smp.MakeID(raw[:16])
	}
	alice.does(id, smp.SUB)
	alice.want(id, smp.END, 0)
	telnet.want("\n" + prid + "\nEND\n")
	telnet.does(prid, "SUB", "OK").want(msg(prid, ":"+large)) // nothing is lost
	telnet.does(prid, "ACK", "OK")
}

// Answers that are there together go into one block.
func TestAnswersShareBlocks(t *testing.T) {
	st := &gate{MemStore: parleytest.NewStore(), n: 8}
	b := broker.New(st, broker.Options{})
	s, err := New(b, keys()[0], Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	defer s.Shutdown(context.Background())
	here, there := net.Pipe()
	s.accept(there, false)
	count := &counted{Conn: here}
	d := newDevice(t, count, s.KeyHash())
	var sids []smp.ID
	for range st.n {
		_, sid := d.create()
		sids = append(sids, sid)
	}
	// The store answers no Append before all have come: serial execution would
	// hang here. They come in one block, as they are small.
	var all [][]byte
	for _, sid := range sids {
		all = append(all, d.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("x")}, false))
	}
	count.n = 0
	d.send(all...)
	// Nothing is read yet, so the first answer blocks the pipe and the others
	// gather behind it.
	for c := onlyConn(s); ; runtime.Gosched() {
		st.mu.Lock()
		gathered := st.came == st.n
		st.mu.Unlock()
		c.mu.Lock()
		gathered = gathered && c.inFlight == 0
		c.mu.Unlock()
		if gathered {
			break
		}
	}
	got := map[smp.Verb]int{}
	for range 2 * st.n {
		got[d.next().Verb]++
	}
	if got[smp.OK] != st.n || got[smp.MSG] != st.n {
		t.Errorf("got %v", got)
	}
	if blocks := count.n / smp.BlockSize; blocks > 3 {
		t.Errorf("%d responses in %d blocks", 2*st.n, blocks)
	}
}

func onlyConn(s *Server) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		return c
	}
	return nil
}

// gate is a store whose Append returns when n of them are under way.
type gate struct {
	*parleytest.MemStore
	n    int
	mu   sync.Mutex
	came int
	open chan struct{}
}

func (g *gate) Append(ctx context.Context, q store.ID, version uint64, limit int, at time.Time, body []byte) (store.Item, error) {
	g.mu.Lock()
	if g.open == nil {
		g.open = make(chan struct{})
	}
	if g.came++; g.came == g.n {
		close(g.open)
	}
	g.mu.Unlock()
	<-g.open
	return g.MemStore.Append(ctx, q, version, limit, at, body)
}

type counted struct {
	net.Conn
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n += n
	return n, err
}

// Within one connection ID commands are carried out and answered in order,
// whatever they cost and however they end; all were sent before any answer.
func TestOrderWithinOneID(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{Quota: 1000})
	alice, bob := b.device(), b.device()
	rid, sid := alice.create()
	const rounds = 40
	go func() {
		for i := range rounds {
			bob.SendRaw(
				bob.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte{byte(i)}}, false),
				[]byte("\n"+sid.String()+"\nSEND x\n"),
				bob.raw(smp.Transmission{Verb: smp.SUB, ID: sid}, true),
				[]byte("\n"+sid.String()+"\nPING\n"))
		}
	}()
	for range rounds {
		bob.want(sid, smp.OK, 0)
		bob.want(sid, smp.ERR, smp.CodeBadBody)
		bob.want(sid, smp.ERR, smp.CodeAuth)
		bob.want(sid, smp.ERR, smp.CodeUnknown)
	}
	for i := range rounds {
		if m := alice.want(rid, smp.MSG, 0); m.Body[0] != byte(i) {
			t.Fatalf("message %d came as number %d", m.Body[0], i)
		}
		alice.does(rid, smp.ACK)
	}
}

// CONNs are carried out together and answered in order.
func TestManyCreatesAtOnce(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	d := b.device()
	const n = 100
	der, _ := smp.MarshalKey(&d.key.PublicKey)
	go func() {
		for range n {
			d.SendRaw(d.raw(smp.Transmission{Verb: smp.CONN, Key: der}, false), []byte("\n\nPING\n"))
		}
	}()
	var rids []smp.ID
	for range n {
		rids = append(rids, d.want(smp.ID{}, smp.IDS, 0).Recipient)
		d.want(smp.ID{}, smp.ERR, smp.CodeUnknown)
	}
	for _, rid := range rids {
		d.does(rid, smp.DEL)
	}
}

func TestWelcomeAndKey(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	here, there := net.Pipe()
	b.accept(there, false)
	defer here.Close()
	here.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := smp.Connect(here, smp.KeyHash{1}); err != smp.ErrServerKey {
		t.Errorf("a wrong key hash gives %v", err)
	}
	here.Close()

	// A block that does not authenticate ends the connection.
	d := b.device()
	d.NetConn().Write(make([]byte, smp.BlockSize))
	if _, err := io.ReadAll(d.NetConn()); err != nil {
		t.Errorf("%v instead of the end", err)
	}
}
