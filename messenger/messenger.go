package messenger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"parley"
	"parley/messenger/profile"
)

// ErrClosed means that the messenger has been closed.
var ErrClosed = errors.New("the messenger is closed")

var errNoTransport = errors.New("this build does not speak secure transport")

// A Messenger implements [API] in the process that owns the profile. One
// goroutine decides what happens next; packets travel in one goroutine for each
// path that has something to send, and arrive in one for each mailbox.
type Messenger struct {
	o   Options
	p   *profile.Profile
	log *slog.Logger
	set Settings

	ctx     context.Context // ends with the messenger
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	commit  sync.Mutex // commits and what they publish have one order
	fan     fanout
	wake    chan struct{}
	drained chan struct{}

	mu       sync.Mutex // guards what follows; never held across a commit or a packet
	work     work
	closing  bool
	busy     map[string]*errand       // what is on its way in the network, by path or line
	resting  map[string]*rest         // what waits for a relay, by path or line
	came     map[int64]time.Time      // when something last came on a shared line
	settling map[int64]string         // shared lines that may not seal yet, and why
	sealDue  time.Time                // when one of them may
	blocked  map[int64]string         // lines that cannot seal yet, and why
	ears     map[int64]func()         // paths we receive from; calling stops it
	relays   map[parley.Address]*link // what we know of relays
	showing  map[int64]bool           // messages a face is showing right now
	frozen   map[int64]bool           // messages that are being cancelled right now
	asking   map[int64]*asking        // lines that introduce themselves
	here     map[int64]*presence      // accounts whose contacts are told that we are here
	seen     bool                     // somebody reads what comes: we are here
	rotating chan struct{}            // holds a token while an account gets new keys
	dropped  int
	backlog  int
	tidied   time.Time     // when old things were last forgotten
	room     chan struct{} // closed when the backlog has gone
	crashed  error
}

// work says what the next round has to look at.
type work uint8

const (
	workInbox work = 1 << iota
	workSeal
	workSend
	workJobs
	workEars
	workAll = workInbox | workSeal | workSend | workJobs | workEars
)

// An errand is one call of a carrier that has not returned.
type errand struct {
	packet int64
	cancel context.CancelFunc
	ended  chan struct{}
}

// A rest is a pause because a relay could not be reached.
type rest struct {
	n     int
	until time.Time
	why   string
}

// Open starts a messenger on an open profile, and goes on with everything that
// was under way when the profile was last used.
func Open(ctx context.Context, o Options) (*Messenger, error) {
	if o.Profile == nil || o.Registry == nil {
		return nil, errors.New("messenger: Options need a Profile and a Registry")
	}
	if o.STP == (parley.STP{}) {
		o.STP = parley.Ratchet
	}
	if o.Drain == 0 {
		o.Drain = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	m := &Messenger{
		o: o, p: o.Profile, log: o.Log,
		wake: make(chan struct{}, 1), drained: make(chan struct{}),
		busy: map[string]*errand{}, resting: map[string]*rest{}, blocked: map[int64]string{}, came: map[int64]time.Time{}, settling: map[int64]string{},
		ears: map[int64]func(){}, relays: map[parley.Address]*link{}, showing: map[int64]bool{}, frozen: map[int64]bool{}, asking: map[int64]*asking{}, here: map[int64]*presence{}, rotating: make(chan struct{}, 1),
		work: workAll,
	}
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := m.start(ctx); err != nil {
		m.cancel()
		return nil, err
	}
	m.watchRelays()
	if o.Pads != nil {
		o.Pads.Again(m.padsAgain)
	}
	m.wg.Go(m.run)
	return m, nil
}

// start checks the pins and releases what was handed over and
// never confirmed.
func (m *Messenger) start(ctx context.Context) error {
	set, err := ReadSettings(ctx, m.p)
	if err != nil {
		return err
	}
	m.set = set
	return m.tx(ctx, "start", func(t *tx) error {
		if err := t.exec("UPDATE outbox SET next = 0"); err != nil {
			return err
		}
		if err := t.exec("UPDATE inbox SET state = 'new'"); err != nil {
			return err
		}
		var waiting int
		if err := t.row("SELECT count(*) FROM inbox")(&waiting); err != nil {
			return err
		}
		m.backlog = waiting
		if err := t.goOnAsking(); err != nil {
			return err
		}
		return t.checkPins()
	})
}

// run is the goroutine that decides.
func (m *Messenger) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for m.ctx.Err() == nil {
		m.mu.Lock()
		todo, closing := m.work, m.closing
		m.work = 0
		m.mu.Unlock()
		next, err := m.round(todo)
		if err != nil {
			if m.ctx.Err() != nil {
				return
			}
			m.log.Error("messenger: a round failed and will be repeated", "error", err)
			m.poke(todo)
			next = m.o.Now().Add(time.Second)
		}
		if closing && err == nil && m.quiet() {
			close(m.drained)
			return
		}
		wake := m.wake
		if err != nil {
			wake = nil // the disk needs a moment
		}
		d := time.Hour
		if !next.IsZero() {
			d = max(next.Sub(m.o.Now()), 0)
		}
		timer.Reset(d)
		select {
		case <-m.ctx.Done():
			return
		case <-wake:
		case <-timer.C:
			m.poke(workSend | workJobs)
		}
	}
}

// round does what is to be done now, and returns when more is due.
func (m *Messenger) round(todo work) (next time.Time, err error) {
	if now := m.now(); now.Sub(m.tidied) > 24*time.Hour {
		if err := m.tx(m.ctx, "tidy", (*tx).expire); err != nil {
			return next, err
		}
		m.tidied = now
	}
	if todo&workInbox != 0 {
		if err := m.process(); err != nil {
			return next, err
		}
	}
	m.mu.Lock()
	todo |= m.work // what was opened may free what was blocked
	m.work &= workInbox
	m.mu.Unlock()
	if todo&workEars != 0 {
		if err := m.listenAll(); err != nil {
			return next, err
		}
	}
	settles := m.sealAt()
	if todo&workSeal != 0 || !settles.IsZero() && !m.now().Before(settles) {
		if err := m.sealAll(); err != nil {
			return next, err
		}
		settles = m.sealAt()
	}
	if next, err = m.jobs(); err != nil {
		return next, err
	}
	next = earliest(next, settles)
	again, err := m.introductions()
	if err != nil {
		return next, err
	}
	due, err := m.dispatch()
	return earliest(earliest(next, again), due), err
}

func (m *Messenger) sealAt() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sealDue
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// poke makes the next round look at that, soon.
func (m *Messenger) poke(w work) {
	m.mu.Lock()
	m.work |= w
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// quiet reports whether nothing is left that could be done now.
func (m *Messenger) quiet() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	soon := !m.sealDue.IsZero() && m.sealDue.Before(m.now().Add(settleLimit))
	return m.work == 0 && len(m.busy) == 0 && !soon
}

// Close lets what is on its way finish for a moment, then ends everything. What
// has not been sent is on disk and goes out when the profile is opened again. It
// does not close the profile.
func (m *Messenger) Close() (err error) {
	m.mu.Lock()
	first := !m.closing
	m.closing = true
	m.mu.Unlock()
	if !first {
		m.wg.Wait()
		return nil
	}
	m.hushAll()
	m.poke(workSeal | workSend)
	t := time.NewTimer(m.o.Drain)
	defer t.Stop()
	select {
	case <-m.drained:
	case <-m.ctx.Done():
	case <-t.C:
	}
	m.cancel()
	ended := make(chan struct{})
	go func() { m.wg.Wait(); close(ended) }()
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	select {
	case <-ended:
	case <-limit.C:
		err = errors.New("messenger: a carrier did not stop within 5 seconds; nothing is lost")
	}
	if m.o.OnClose != nil {
		err = errors.Join(err, m.o.OnClose())
	}
	return err
}

func (m *Messenger) now() time.Time { return m.o.Now() }

func (m *Messenger) carrier(scheme string) (parley.Carrier, error) {
	c := m.o.Registry.Carriers[scheme]
	if c == nil {
		return nil, fmt.Errorf("this build has no carrier for %s: addresses: %w", scheme, parley.ErrRefused)
	}
	return c, nil
}

func (m *Messenger) transport(n parley.STP) (parley.SecureTransport, error) {
	p := m.o.Registry.Secure[n]
	if p == nil {
		return nil, fmt.Errorf("%w %d version %d", errNoTransport, n.Type, n.Version)
	}
	return p, nil
}
