package smpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/broker"
	"parley/carrier/smp"
)

// listen serves on a loopback port.
func (b *bench) listen(plain bool) net.Addr {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	serve := b.Serve
	if plain {
		serve = b.ServePlain
	}
	go serve(l)
	return l.Addr()
}

func dial(t testing.TB, a net.Addr) net.Conn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", a.String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// atMost waits until no more than n connections are left.
func (b *bench) atMost(n int) {
	b.Helper()
	for end := time.Now().Add(15 * time.Second); b.Connections() > n; runtime.Gosched() {
		if time.Now().After(end) {
			b.Fatalf("%d connections are kept, want %d", b.Connections(), n)
		}
	}
}

// ended reports whether the peer closes the connection within a time.
func ended(nc net.Conn, within time.Duration) bool {
	nc.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, nc)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// Thousands of connections that say nothing: few are kept, and who comes then is
// served.
func TestHalfOpenConnections(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 2_000
	}
	b := newBench(t, Options{}, broker.Options{})
	addr := b.listen(false)
	before := heap()
	var g sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	for range 8 {
		g.Go(func() {
			for range n / 8 {
				nc, err := net.Dial("tcp", addr.String())
				if err != nil {
					continue // out of ports or descriptors: enough are open
				}
				mu.Lock()
				open = append(open, nc)
				mu.Unlock()
			}
		})
	}
	g.Wait()
	d := newDevice(t, dial(t, addr), b.KeyHash())
	rid, _ := d.create()
	d.does(rid, smp.SUB)
	b.atMost(129) // this one and the newest of the silent
	t.Logf("%d half-open connections came, %d are kept, %d KiB", len(open), b.Connections()-1, (int64(heap())-int64(before))/1024)
	for _, nc := range open {
		nc.Close()
	}
}

func TestHandshakesOfAllHostsAreBounded(t *testing.T) {
	b := newBench(t, Options{MaxHandshakes: 10}, broker.Options{})
	addr := b.listen(false)
	first := dial(t, addr)
	for range 15 {
		dial(t, addr)
	}
	newDevice(t, dial(t, addr), b.KeyHash())
	if !ended(first, 5*time.Second) {
		t.Error("the oldest half-open connection is kept")
	}
	b.atMost(11)
}

func TestOneHostLeavesRoomForOthers(t *testing.T) {
	b := newBench(t, Options{HostConns: 3}, broker.Options{})
	addr := b.listen(false)
	var open []*device
	for range 3 {
		open = append(open, newDevice(t, dial(t, addr), b.KeyHash()))
	}
	if !ended(dial(t, addr), 5*time.Second) {
		t.Error("a fourth connection of one host is kept")
	}
	b.device() // a pipe is another host
	open[0].Close()
	b.atMost(3)
	newDevice(t, dial(t, addr), b.KeyHash())
	for _, d := range open[1:] {
		d.Close()
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	b := newBench(t, Options{MaxConns: 4, MaxPlain: 2}, broker.Options{})
	plain, addr := b.listen(true), b.listen(false)
	var kept []net.Conn
	for range 2 {
		nc := dial(t, plain)
		fmt.Fprint(nc, "\n\nPING\n")
		io.ReadFull(nc, make([]byte, 14))
		kept = append(kept, nc)
	}
	if !ended(dial(t, plain), 5*time.Second) {
		t.Error("a third plain connection is kept")
	}
	for range 2 {
		newDevice(t, dial(t, addr), b.KeyHash())
	}
	if !ended(dial(t, addr), 5*time.Second) {
		t.Error("a fifth connection is kept")
	}
	kept[0].Close()
	ended(kept[0], time.Second)
	b.atMost(3)
	newDevice(t, dial(t, addr), b.KeyHash())
}

func TestPlainIsForThisMachineOnly(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	if err := b.ServePlain(l); !errors.Is(err, ErrNotLoopback) {
		t.Errorf("got %v", err)
	}
}

// Whoever is too slow is closed, and nobody else.
func TestSlowPeers(t *testing.T) {
	const soon = 200 * time.Millisecond
	b := newBench(t, Options{HandshakeTimeout: soon, BlockTimeout: soon, PlainTimeout: soon}, broker.Options{})
	addr, plain := b.listen(false), b.listen(true)

	late := dial(t, addr)
	late.Write([]byte("ha")) // and never the rest of the handshake
	inBlock := newDevice(t, dial(t, addr), b.KeyHash()).NetConn()
	inBlock.Write(make([]byte, 17)) // a tag and a byte
	inTag := newDevice(t, dial(t, addr), b.KeyHash()).NetConn()
	inTag.Write(make([]byte, 1))
	line := dial(t, plain)
	line.Write([]byte("\n\nPI"))
	for name, nc := range map[string]net.Conn{"handshake": late, "block": inBlock, "tag": inTag, "line": line} {
		if !ended(nc, 10*time.Second) {
			t.Errorf("slow in %s, and still connected", name)
		}
	}
}

// Whoever is silent is closed, unless he waits for messages.
func TestIdlePeers(t *testing.T) {
	const soon = 200 * time.Millisecond
	b := newBench(t, Options{BlockTimeout: soon, IdleTimeout: 2 * soon}, broker.Options{})
	addr := b.listen(false)
	subscribed := newDevice(t, dial(t, addr), b.KeyHash())
	rid, sid := subscribed.create()
	if !ended(newDevice(t, dial(t, addr), b.KeyHash()).NetConn(), 10*time.Second) {
		t.Error("idle, and still connected")
	}
	// Blocks of padding keep a connection open, as any byte does.
	padding := newDevice(t, dial(t, addr), b.KeyHash())
	for range 6 {
		<-time.After(soon / 2)
		padding.send([]byte("#"))
	}
	padding.send([]byte("\n\nPING\n"))
	padding.want(smp.ID{}, smp.ERR, smp.CodeUnknown)

	<-time.After(4 * soon)
	sender := newDevice(t, dial(t, addr), b.KeyHash())
	sender.send(sender.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("x")}, false))
	subscribed.want(rid, smp.MSG, 0)
}

func TestEndlessLinesAreBounded(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	before := heap()
	for _, begin := range []string{"", "\n", "\n\n", "\n\nSEND ", "\n\nCONN "} {
		nc := dial(t, b.listen(true))
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, begin)
		go io.Copy(io.Discard, nc)
		junk := []byte(strings.Repeat("a", 64<<10))
		var err error
		for i := 0; err == nil; i++ {
			if _, err = nc.Write(junk); i > 10_000 {
				t.Fatalf("%q without end is read for ever", begin)
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: %v", begin, err)
		}
	}
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("%d KiB more after endless lines", grown/1024)
	}
}

// A subscriber of many queues that never reads holds no bodies, delays nobody,
// and is closed when a block was not taken in time.
func TestSubscriberThatNeverReads(t *testing.T) {
	queues := 2000
	if testing.Short() {
		queues = 300
	}
	b := newBench(t, Options{WriteTimeout: time.Second}, broker.Options{})
	addr := b.listen(false)
	deaf := b.device() // over a pipe, where nothing is buffered
	var sids, rids []smp.ID
	der, _ := smp.MarshalKey(&deaf.key.PublicKey)
	conn := deaf.raw(smp.Transmission{Verb: smp.CONN, Key: der}, false)
	for len(sids) < queues {
		deaf.send(slices.Repeat([][]byte{conn}, 50)...)
		for range 50 {
			ids := deaf.want(smp.ID{}, smp.IDS, 0)
			rids, sids = append(rids, ids.Recipient), append(sids, ids.Sender)
		}
	}
	// From here on deaf reads nothing.
	before := heap()
	sender := newDevice(t, dial(t, addr), b.KeyHash())
	body := make([]byte, 3000)
	for _, sid := range sids {
		sender.send(sender.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: body}, false))
		sender.want(sid, smp.OK, 0)
	}
	stored := int64(len(sids) * (len(body) + 200)) // the memory store itself
	if grown := int64(heap()) - int64(before) - stored; grown > 2<<20 {
		t.Errorf("%d KiB beside the stored messages", grown/1024)
	}
	b.atMost(1)
	// Nothing was lost.
	heir := newDevice(t, dial(t, addr), b.KeyHash())
	for _, rid := range rids[:50] {
		heir.does(rid, smp.SUB)
		heir.want(rid, smp.MSG, 0)
	}
}

// A client that sends commands and reads no answers is not read from for long.
func TestCommandsWithoutReadingAnswers(t *testing.T) {
	b := newBench(t, Options{WriteTimeout: time.Second}, broker.Options{})
	nc := b.telnet().Conn // a pipe: nothing is buffered
	before := heap()
	nc.SetWriteDeadline(time.Now().Add(20 * time.Second))
	lines := []byte(strings.Repeat("\n\nPING\n", 10))
	c := onlyConn(b.Server)
	for {
		_, err := nc.Write(lines)
		c.mu.Lock()
		waiting := len(c.out)
		c.mu.Unlock()
		if waiting > maxOut+maxInFlight {
			t.Fatalf("%d answers wait", waiting)
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("still connected")
			}
			break
		}
	}
	if grown := int64(heap()) - int64(before); grown > 2<<20 {
		t.Errorf("%d KiB more", grown/1024)
	}
}

// Answers that wait behind a HOLD are bounded.
func TestAnswersBehindAHoldAreBounded(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	c := b.telnet()
	rid, sid := c.create()
	b.telnet().send("\n" + sid + "\nSEND :x\n").want("\n" + sid + "\nOK\n")
	c.want(msg(rid, ":x")).send(sign(t, keys()[1], rid+"\nHOLD"))
	go io.Copy(io.Discard, c.Conn)
	bad := []byte(strings.Repeat("\n"+rid+"\nPING\n", 100))
	for i := range 2 * maxSlots / 100 {
		if _, err := c.Conn.Write(bad); err != nil {
			if i*100 < maxSlots-200 {
				t.Errorf("closed after %d", i*100)
			}
			return
		}
	}
	t.Error("still connected")
}

func TestShutdownAnswersWhatWasReceived(t *testing.T) {
	b := newBench(t, Options{}, broker.Options{})
	addr := b.listen(false)
	d := newDevice(t, dial(t, addr), b.KeyHash())
	rid, sid := d.create()
	waiting := newDevice(t, dial(t, addr), b.KeyHash())
	waiting.does(rid, smp.SUB)
	waiting.send(waiting.raw(smp.Transmission{Verb: smp.SEND, ID: sid, Body: []byte("x")}, false))
	waiting.next()
	waiting.next() // OK and MSG
	waiting.send(waiting.raw(smp.Transmission{Verb: smp.HOLD, ID: rid}, true), []byte("\n\nPING\n"))
	waiting.want(smp.ID{}, smp.ERR, smp.CodeUnknown) // read, so HOLD was too
	begin := time.Now()
	if err := b.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	if !ended(waiting.NetConn(), time.Second) {
		t.Error("a connection is open after Shutdown")
	}
	if nc, err := net.Dial("tcp", addr.String()); err == nil {
		nc.Close()
		t.Error("the port is still open")
	}
}
