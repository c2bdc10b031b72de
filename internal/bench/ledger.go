package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
)

// A ledger is what the two ends of one queue know between them, and the judge of
// what comes out of it. It lives in the process that is not killed.
type ledger struct {
	run   uint64 // tells this run's messages from any other's
	queue int
	wrong func(string)

	mu       sync.Mutex
	sent     []fate // by sequence number - 1
	received []bool
	current  int      // came, and its ACK has not been answered; 0: none
	acking   bool     // and its ACK was sent: it may come again or not
	cut      bool     // the connection broke since then
	settled  int      // the highest whose ACK was answered or that was passed over rightly
	again    int      // redeliveries, all rightly so
	trail    []string // the last steps, to be told with what was wrong
}

const trailLength = 24

// step notes what happened, in the words of TestLedgerJudges.
func (l *ledger) step(what byte, seq int) {
	s := string(what)
	if seq > 0 {
		s += strconv.Itoa(seq)
	}
	l.trail = append(l.trail, s)
	if len(l.trail) > 2*trailLength {
		l.trail = append(l.trail[:0], l.trail[len(l.trail)-trailLength:]...)
	}
}

// A fate is what the sender knows of one message.
type fate uint8

const (
	unknown fate = iota // no answer yet, or never: it may come or not
	stored              // answered OK: it must come
	refused             // answered with an error: it must not come
)

func (f fate) String() string { return [...]string{"unanswered", "acknowledged", "refused"}[f] }

// send takes the next number, before anything is written to the relay.
func (l *ledger) send() (seq int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, unknown)
	l.received = append(l.received, false)
	l.step('s', len(l.sent))
	return len(l.sent)
}

// answered notes the relay's answer to a send.
func (l *ledger) answered(seq int, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[seq-1] = f
	l.step("?or"[f], seq)
	if f == refused && l.received[seq-1] {
		l.complain("message %d was delivered and then refused", seq)
	}
}

// delivered judges a message that came.
func (l *ledger) delivered(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := l.number(body)
	if seq == 0 {
		l.complain("something came that was never sent: %.40q", body)
		return
	}
	l.step('d', seq)
	switch {
	case l.current != 0 && !l.cut:
		l.complain("message %d came before %d was acknowledged", seq, l.current)
	case l.current != 0 && seq == l.current:
		l.again++ // rightly: its ACK was not answered
		l.acking, l.cut = false, false
		return
	case l.current != 0 && !l.acking:
		l.complain("message %d, received but not acknowledged, did not come again: %d came", l.current, seq)
	}
	switch {
	case l.received[seq-1] && seq != l.current:
		l.complain("message %d came again after it was acknowledged", seq)
	case !l.received[seq-1] && seq <= l.highest():
		l.complain("message %d came after a later one", seq)
	case l.sent[seq-1] == refused:
		l.complain("message %d was refused, but came", seq)
	}
	l.settled = max(l.settled, l.current)
	l.received[seq-1] = true
	l.current, l.acking, l.cut = seq, false, false
}

func (l *ledger) highest() int { return max(l.settled, l.current) }

// acks is called before an ACK is written, acked when it is answered OK.
func (l *ledger) acks() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step('a', 0)
	l.acking = true
}

func (l *ledger) acked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step('A', 0)
	l.settled = max(l.settled, l.current)
	l.current, l.acking = 0, false
}

// broken is called when the receiver's connection has ended.
func (l *ledger) broken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step('x', 0)
	l.cut = true
}

// finish judges what never came. Call it when the queue is known to be empty.
func (l *ledger) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.sent {
		if f == stored && !l.received[i] {
			l.complain("message %d was acknowledged to its sender and never came", i+1)
		}
	}
	if l.current != 0 {
		l.complain("message %d was never acknowledged by its receiver", l.current)
	}
}

// hangsUp is called before the recipient ends its connection by itself.
func (l *ledger) hangsUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step('h', 0)
}

// fault notes what an end of the queue found wrong.
func (l *ledger) fault(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.complain(format, a...)
}

func (l *ledger) complain(format string, a ...any) {
	trail := strings.Join(l.trail[max(0, len(l.trail)-trailLength):], " ")
	l.wrong(fmt.Sprintf("queue %d: %s (%s)", l.queue, fmt.Sprintf(format, a...), trail))
}

// tally is what a ledger adds to the report.
type tally struct{ Sent, Stored, Unanswered, Delivered, Again int }

func (l *ledger) tally() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := tally{Sent: len(l.sent), Again: l.again}
	for i, f := range l.sent {
		switch f {
		case stored:
			t.Stored++
		case unknown:
			t.Unanswered++
		}
		if l.received[i] {
			t.Delivered++
		}
	}
	return t
}

// body makes the bytes of one message: run, queue, number, and a filler that
// they determine, of very different lengths, with bytes that mean something to
// the wire.
func (l *ledger) body(seq int) []byte {
	rng := rand.New(rand.NewPCG(l.run^uint64(l.queue)<<40, uint64(seq)))
	b := make([]byte, 24, 24+maxFiller)
	binary.BigEndian.PutUint64(b, l.run)
	binary.BigEndian.PutUint64(b[8:], uint64(l.queue))
	binary.BigEndian.PutUint64(b[16:], uint64(seq))
	const odd = "#\n\r\x00 :"
	for range rng.IntN(1 + rng.IntN(maxFiller)) {
		if c := rng.IntN(256 + 64); c < 256 {
			b = append(b, byte(c))
		} else {
			b = append(b, odd[c%len(odd)])
		}
	}
	return b
}

const maxFiller = 3000

// number reads a body that must be exactly what was sent; 0 if it isn't.
func (l *ledger) number(body []byte) int {
	if len(body) < 24 {
		return 0
	}
	seq := binary.BigEndian.Uint64(body[16:])
	if seq == 0 || seq > uint64(len(l.sent)) || !bytes.Equal(body, l.body(int(seq))) {
		return 0
	}
	return int(seq)
}

// isSettled reports whether message seq was received and its ACK answered.
func (l *ledger) isSettled(seq int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settled >= seq
}
