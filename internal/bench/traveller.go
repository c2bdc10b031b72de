package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"parley/carrier/smp"
)

// A traveller is one queue of the crash test: the two ends and their ledger.
type traveller struct {
	*ledger
	*queue
	srv  smp.Server
	keys keys // recipient's and sender's
	stop *atomic.Bool
}

// sendAll sends until told to stop, on one connection after the other.
func (t *traveller) sendAll(ctx context.Context) {
	rng := rand.New(rand.NewPCG(t.run, uint64(t.ledger.queue)))
	for !t.stop.Load() && ctx.Err() == nil {
		l := t.connect(ctx)
		if l == nil {
			continue
		}
		for !t.stop.Load() && ctx.Err() == nil {
			if _, err := t.sendSome(ctx, l, 1+rng.IntN(burst)); err != nil {
				break
			}
		}
		l.close()
	}
}

// connect dials once, and waits a little if that fails: the relay may be dead.
func (t *traveller) connect(ctx context.Context) *link {
	l, err := dial(ctx, t.srv)
	if err == nil {
		return l
	}
	if errors.Is(err, smp.ErrServerKey) {
		t.fault("%v", err)
	}
	_ = pause(ctx, 10*time.Millisecond) // the caller looks at ctx
	return nil
}

// sendSome sends n messages at once and reads the answers. It reports the last
// number that was acknowledged, if any.
func (t *traveller) sendSome(ctx context.Context, l *link, n int) (last int, err error) {
	var out []*smp.Transmission
	var seqs []int
	for range n {
		seq := t.ledger.send()
		m := &smp.Transmission{ID: t.sender, Verb: smp.SEND, Body: t.body(seq)}
		if err := m.Sign(t.keys[1]); err != nil {
			return 0, err
		}
		out, seqs = append(out, m), append(seqs, seq)
	}
	if err := l.patience(); err != nil {
		return 0, err
	}
	if err := l.send(out...); err != nil {
		return 0, err
	}
	full := false
	for _, seq := range seqs {
		a, err := l.next()
		switch {
		case err != nil:
			t.silent("SEND", err)
			return last, err
		case a.Verb == smp.OK && a.ID == t.sender:
			t.answered(seq, stored)
			last = seq
		case a.Verb == smp.ERR && a.Code == smp.CodeQuota:
			t.answered(seq, refused)
			full = true
		default:
			err := unexpected("SEND", a)
			t.fault("message %d: %v", seq, err)
			return last, err
		}
	}
	if full { // let the recipient catch up
		return last, pause(ctx, 50*time.Millisecond)
	}
	return last, nil
}

// silent complains when err says that the relay, alive, did not answer.
func (t *traveller) silent(to string, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.fault("%s was not answered within %v", to, replyTime)
	}
}

// receiveAll receives and acknowledges until ctx ends.
func (t *traveller) receiveAll(ctx context.Context) {
	rng := rand.New(rand.NewPCG(t.run, ^uint64(t.ledger.queue)))
	for ctx.Err() == nil {
		l := t.connect(ctx)
		if l == nil {
			continue
		}
		stop := context.AfterFunc(ctx, l.close)
		t.receive(l, rng)
		stop()
		l.close()
		t.broken()
	}
}

// receive subscribes and takes messages until the connection ends, or sometimes
// ends it, before the ACK or right after it.
func (t *traveller) receive(l *link, rng *rand.Rand) {
	if l.patience() != nil || l.send(&t.sub) != nil {
		return
	}
	expect := "SUB"
	for {
		m, err := l.next()
		switch {
		case err != nil:
			if expect != "" { // without it, silence only means that nothing was sent
				t.silent(expect, err)
			}
			return
		case m.Verb == smp.OK && m.ID == t.recipient && expect != "":
			if expect == "ACK" {
				t.acked()
			}
			expect = ""
		case m.Verb == smp.MSG && m.ID == t.recipient && expect == "":
			t.delivered(m.Body)
			if rng.Float64() < hangUp {
				t.hangsUp()
				return
			}
			t.acks()
			if l.patience() != nil || l.SendRaw(t.ack) != nil {
				return
			}
			if rng.Float64() < hangUp {
				t.hangsUp()
				return
			}
			expect = "ACK"
		default:
			t.fault("%v", unexpected("the recipient's "+expect, m))
			return
		}
	}
}

// flush sends another message until one has been received and its ACK answered:
// as messages come in order, nothing is before it any more. One may not be
// enough: its ACK may stay unanswered because the recipient hangs up.
func (t *traveller) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drainTime, fmt.Errorf("the queue was not empty after %v", drainTime))
	defer cancel()
	for {
		last := 0
		if l := t.connect(ctx); l != nil {
			last, _ = t.sendSome(ctx, l, 1) // else the ledger has it, and another try is due
			l.close()
		}
		for range 50 {
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
			if last > 0 && t.isSettled(last) {
				return nil
			}
		}
	}
}
