package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The echo is the smallest thing that could be called a relay: the bare work of
// the floor behind a TCP connection, with a client that seals and opens its
// blocks as any client must. It is the second floor: it shares the machine with
// its client just as the relay under test does.

const helloSize = 2 * (32 + ivSize) // the connection's keys, in clear: set-up is not measured

// listenEcho serves until l is closed.
func (f *floor) listenEcho(l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		wg.Go(func() {
			defer c.Close()
			_ = f.echo(c) // the client sees the closed connection, and says so
		})
	}
}

func (f *floor) echo(c net.Conn) error {
	secret := make([]byte, helloSize)
	if _, err := io.ReadFull(c, secret); err != nil {
		return err
	}
	l, err := f.lane(secret)
	if err != nil {
		return err
	}
	for {
		if err := l.step(c, l.sends, max(1, l.owedOut.take(l.work.BlocksOut)-1)); err != nil {
			return err
		}
		if err := l.step(c, l.acks, 1); err != nil {
			return err
		}
	}
}

// step answers one block with so many.
func (l *lane) step(c net.Conn, work func() error, answers int) error {
	if _, err := io.ReadFull(c, l.block[:blockSize]); err != nil {
		return err
	}
	if _, err := l.in.open(l.block[:blockSize]); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	for range answers {
		l.block[0] = byte(answers) // the client must know how many to wait for
		if _, err := c.Write(l.out.seal(l.block[:blockSize-tagSize])); err != nil {
			return err
		}
	}
	return nil
}

// loadEcho runs n clients against an echo for d.
func loadEcho(ctx context.Context, address string, n int, d time.Duration) (BareResult, error) {
	conns := make([]net.Conn, n)
	lanes := make([]*lane, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for i := range conns {
		secret := make([]byte, helloSize)
		if _, err := rand.Read(secret); err != nil {
			return BareResult{}, err
		}
		out, err1 := newBlockCipher(secret[:32], secret[32:48])
		in, err2 := newBlockCipher(secret[48:80], secret[80:96])
		if err := errors.Join(err1, err2); err != nil {
			return BareResult{}, err
		}
		lanes[i] = &lane{in: in, out: out, block: make([]byte, blockSize)}
		var err error
		if conns[i], err = (&net.Dialer{}).DialContext(ctx, "tcp", address); err != nil {
			return BareResult{}, err
		}
		if _, err := conns[i].Write(secret); err != nil {
			return BareResult{}, err
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.Close()
		}
	})
	defer stop()

	counts, errs := make([]uint64, n), make([]error, n)
	begin := time.Now()
	var wg sync.WaitGroup
	for i, l := range lanes {
		wg.Go(func() {
			for time.Since(begin) < d && errs[i] == nil {
				// SEND and what comes of it, then ACK and its reply.
				if errs[i] = errors.Join(l.ask(conns[i]), l.ask(conns[i])); errs[i] == nil {
					counts[i]++
				}
			}
		})
	}
	wg.Wait()
	r := BareResult{Elapsed: time.Since(begin)}
	for _, c := range counts {
		r.Messages += c
	}
	if err := errors.Join(errs...); err != nil {
		return r, fmt.Errorf("the bare echo: %w", err)
	}
	return r, nil
}

// ask sends one block and reads what answers it.
func (l *lane) ask(c net.Conn) error {
	if _, err := c.Write(l.out.seal(l.block[:blockSize-tagSize])); err != nil {
		return err
	}
	for i, n := 0, 1; i < n; i++ {
		if _, err := io.ReadFull(c, l.block[:blockSize]); err != nil {
			return err
		}
		plain, err := l.in.open(l.block[:blockSize])
		if err != nil {
			return err
		}
		n = int(plain[0])
	}
	return nil
}
