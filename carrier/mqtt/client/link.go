package client

import (
	"sync"
	"sync/atomic"
	"time"

	"parley/carrier/mqtt"
)

// A link is one connection to the broker while it lasts: a queue of what goes
// out, and what comes in.
type link struct {
	*connected
	o     *Options
	heard atomic.Int64 // when something came last, Unix nanoseconds
	wake  chan struct{}
	done  chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	err     error
	parting error // will be err when the broker hangs up
	queue   []frame

	// The Conn's: something was thrown away that the broker must send again; and the
	// new connection for it is on its way.
	lossy, anew bool
}

type frame struct {
	bytes   []byte
	written func(error) // nil: nobody asks
}

// maxFrames bounds what waits to be written: answers to a broker that sends and
// does not read.
const maxFrames = 1 << 16

func newLink(c *connected, o *Options) *link {
	l := &link{connected: c, o: o, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.heard.Store(time.Now().UnixNano())
	return l
}

// run starts what reads, writes and pings; handle gets each packet.
func (l *link) run(handle func(p *packet, big bool) error) {
	l.wg.Go(func() { l.read(handle) })
	l.wg.Go(l.write)
	l.wg.Go(l.ping)
}

// fail ends the connection; the first error stays.
func (l *link) fail(err error) {
	l.mu.Lock()
	queue := l.stop(err)
	l.mu.Unlock()
	tellAll(queue, err)
}

// stop ends the connection and returns what will not be written. l.mu is held.
func (l *link) stop(err error) []frame {
	if l.err != nil {
		return nil
	}
	l.err = err
	l.wg.Go(func() { l.nc.Close() }) // TLS says good-bye, which may take its time
	close(l.done)
	queue := l.queue
	l.queue = nil
	return queue
}

func tellAll(frames []frame, err error) {
	for _, f := range frames {
		if f.written != nil {
			f.written(err)
		}
	}
}

// cause returns why the connection ended.
func (l *link) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// send queues a packet. written, if any, is called once and must not wait; when
// send fails it is not called.
func (l *link) send(p *packet, written func(error)) error {
	b, err := l.codec.encode(p)
	if err != nil {
		return err
	}
	return l.sendRaw(b, written)
}

func (l *link) sendRaw(b []byte, written func(error)) error {
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return l.err
	}
	if len(l.queue) >= maxFrames {
		queue := l.stop(errSilent)
		l.mu.Unlock()
		tellAll(queue, errSilent)
		return errSilent
	}
	defer l.mu.Unlock()
	l.queue = append(l.queue, frame{b, written})
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// end sends DISCONNECT after what is queued, waits for the broker to hang up, and
// gives err as the reason. The broker hangs up when it has taken in all that we
// said: should we connect again before, it might never look at our last
// acknowledgements. One that does not hang up has a moment.
func (l *link) end(forget bool, err error) {
	l.mu.Lock()
	l.parting = err
	l.mu.Unlock()
	l.send(&packet{kind: kDisconnect, endNow: forget}, func(error) {
		time.AfterFunc(parting, func() { l.fail(err) })
	})
}

// parting is how long a broker may take to hang up after DISCONNECT.
const parting = time.Second

// hungUp is the error of a connection that the far side has closed.
func (l *link) hungUp(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parting != nil {
		return l.parting
	}
	return hangup(err)
}

func (l *link) write() {
	for {
		select {
		case <-l.wake:
		case <-l.done:
			return
		}
		l.mu.Lock()
		batch := l.queue
		l.queue = nil
		l.mu.Unlock()
		if !l.writeAll(batch) {
			return
		}
	}
}

// writeAll writes a batch, small frames many at a time.
func (l *link) writeAll(batch []frame) bool {
	for len(batch) > 0 {
		buf, n := batch[0].bytes, 1
		for n < len(batch) && len(buf)+len(batch[n].bytes) <= 16<<10 {
			buf = append(buf, batch[n].bytes...)
			n++
		}
		l.nc.SetWriteDeadline(time.Now().Add(l.o.ReplyTimeout))
		_, err := l.nc.Write(buf)
		if err != nil {
			l.fail(hangup(err))
			err = l.cause()
		}
		if err != nil {
			tellAll(batch, err)
			return false
		}
		tellAll(batch[:n], nil)
		batch = batch[n:]
	}
	return true
}

func (l *link) read(handle func(p *packet, big bool) error) {
	for {
		f, big, err := readFrame(l.r, l.o.MaxPacket, l.codec.version() == mqtt.V5)
		if err != nil {
			l.fail(l.hungUp(err))
			return
		}
		l.heard.Store(time.Now().UnixNano())
		p, err := decode(l.codec, f)
		if err == nil {
			err = handle(p, big)
		}
		if err != nil {
			l.fail(err)
			return
		}
	}
}

// ping gives signs of life within half of the time that the broker waits, so that
// a late one does no harm, and expects to hear something after each.
func (l *link) ping() {
	every := min(l.o.KeepAlive/2, l.o.ReplyTimeout)
	if s := l.limits.keepAlive; s > 0 {
		every = min(every, time.Duration(s)*time.Second/2)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var asked time.Time // the first ping since something was heard
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		now := time.Now()
		if !asked.IsZero() && l.heard.Load() >= asked.UnixNano() {
			asked = time.Time{}
		}
		if !asked.IsZero() && now.Sub(asked) >= l.o.ReplyTimeout {
			l.fail(errSilent)
			return
		}
		if asked.IsZero() {
			asked = now
		}
		if l.send(&packet{kind: kPingreq}, nil) != nil {
			return
		}
	}
}
