package live

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"parley"
	"parley/internal/bucketfile"
	"parley/secure/stringphone"
)

// A Channel carries payloads between everybody in the topic.
type Channel interface {
	// Publish returns when the channel has the payload for good.
	Publish(ctx context.Context, payload []byte, retain bool) error
	// Receive calls take for each payload, one at a time, until ctx ends. What
	// take refuses comes again.
	Receive(ctx context.Context, take func(payload []byte, retained bool) error) error
}

// A Message is what a member said.
type Message struct {
	From     stringphone.ID
	Key      ed25519.PublicKey
	Sent     time.Time // zero in a plain topic
	Body     []byte
	Retained bool // the channel had stored it
	Again    bool // shown before: what is retained counts until something replaces it
}

// A Request is somebody who asks for the topic key. Its signature is verified.
type Request struct {
	ID  stringphone.ID
	Key ed25519.PublicKey
}

// An Answer is somebody who offers us the topic key.
type Answer struct {
	ID     stringphone.ID
	Key    ed25519.PublicKey
	Signed bool
}

// A Verdict is a decision about a request or an answer.
type Verdict int

const (
	Later Verdict = iota // nobody can decide now
	Yes
	No
)

// Options say how a [Session] takes part.
type Options struct {
	State   *bucketfile.File
	Channel Channel
	Hex     bool // payloads in hex, as the original's MQTT example writes them
	// Retained shows what the channel had stored also when it was shown before.
	Retained bool
	// Settle returns when what the channel has kept for us was taken in, so that
	// nothing is sealed under a key that was replaced while we were away, and reports
	// whether something may have been missed. Nil: there is nothing to wait for.
	Settle func(context.Context) (missed bool)
	// Alone makes this process the only one that publishes what is in the outbox, until
	// done is called: else two would publish the same, and devices of the original's
	// kind take both. Nil: there is no other.
	Alone func(context.Context) (done func(), err error)
	// Unsure seals texts also when a newer key may have been missed.
	Unsure bool
	// Rejoin asks to be let in again although we were removed.
	Rejoin bool
	// Announce introduces us once at the start although we have the topic key, so
	// that the original's devices learn ours.
	Announce bool

	// Show shows a message. Nil leaves messages for another process: then the
	// Channel must not be the one that feeds that process.
	Show    func(Message) error
	Admit   func(context.Context, Request) Verdict      // may ask a person and take its time; nil: Later
	Trust   func(context.Context, Answer) Verdict       // the same for who answers us; nil: Later
	Joined  func()                                      // called when we have the topic key
	Note    func(Note)                                  // what else happens
	Now     func() time.Time                            // nil: the clock
	Jitter  func() float64                              // in [0,1); nil: random
	Backoff func(try int, jitter float64) time.Duration // between introductions; nil: 1 s to 30 s
}

// A Note is something that a person may want to know and no message.
type Note struct {
	Kind NoteKind
	ID   stringphone.ID
	Key  ed25519.PublicKey
	Err  error
}

// A NoteKind says what a [Note] is about.
type NoteKind int

const (
	NoteRequest    NoteKind = iota // somebody asks, and nobody decides here
	NoteAnswer                     // somebody answers, and nobody decides here
	NoteAdmitted                   // we gave the topic key
	NoteDenied                     // we did not
	NoteJoined                     // we got it
	NoteUntrusted                  // a stranger says something; it is kept for a while
	NoteForged                     // a signature does not fit, or an answer is refused
	NoteForeign                    // not of this protocol
	NoteRepeated                   // seen before
	NoteUnreadable                 // made with a key that we lack
	NoteRotated                    // the topic has a new key
	NoteRemoved                    // somebody removed us
	NoteTrouble                    // the channel fails; it is tried again
)

// Counts of what was not shown.
type Counts struct {
	Foreign, Forged, Untrusted, Repeated, Unreadable int
}

// A Session is one process that takes part in a topic.
type Session struct {
	o        Options
	flushing sync.Mutex

	mu      sync.Mutex
	counts  Counts
	noted   map[string]bool // requests and answers that a note told about, or that were denied
	joined  bool
	lates   map[stringphone.ID]int
	erased  map[[16]byte]bool    // what was counted in lates, by digest
	answers map[string]time.Time // introductions that were answered just now
	settled chan struct{}        // closed when texts may be sealed
	decided chan struct{}        // one token: the state has something to decide
	leave   chan struct{}        // one token: the outbox has something
	key     chan struct{}        // one token: whether we have the topic key may have changed
}

// New makes a Session on a state file that [Setup] has prepared.
func New(o Options) (*Session, error) {
	if o.State == nil || o.Channel == nil {
		return nil, errors.New("live: Options need a State and a Channel")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Backoff == nil {
		o.Backoff = backoff
	}
	if o.Note == nil {
		o.Note = func(Note) {}
	}
	s := &Session{
		o: o, noted: map[string]bool{}, answers: map[string]time.Time{}, lates: map[stringphone.ID]int{}, erased: map[[16]byte]bool{},
		settled: make(chan struct{}), decided: make(chan struct{}, 1), leave: make(chan struct{}, 1), key: make(chan struct{}, 1),
	}
	if o.Settle == nil {
		close(s.settled)
	}
	return s, s.tx(func(*member) error { return nil })
}

// settle waits for what was kept for us. If something may have been missed, a new
// key may have been: we ask a member for the present one before we seal anything.
func (s *Session) settle(ctx context.Context) error {
	if s.o.Settle == nil {
		return nil
	}
	missed := s.o.Settle(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if missed {
		err := s.tx(func(m *member) error {
			m.lacks = m.HasKey() && m.Mode() != stringphone.Plain && len(m.Members()) > 1
			return nil
		})
		if err != nil {
			return err
		}
	}
	close(s.settled)
	return nil
}

// backoff is the pause before the next introduction: 1 s, doubling to 30 s, the
// last half of it by lot.
func backoff(try int, jitter float64) time.Duration {
	d := min(time.Second<<min(try, 5), 30*time.Second)
	return d/2 + time.Duration(jitter*float64(d/2))
}

// Counts returns what was not shown so far.
func (s *Session) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Run takes part until ctx ends or showing fails.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, work := range []func(context.Context) error{s.settle, s.introduce, s.decide, s.carry} {
		wg.Go(func() {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	poke(s.decided)
	poke(s.leave)
	poke(s.key)
	err := s.o.Channel.Receive(ctx, s.take)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	return err
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// count notes something that is not shown.
func (s *Session) count(n *int, note Note) {
	s.mu.Lock()
	*n++
	s.mu.Unlock()
	s.o.Note(note)
}

// once reports whether a key is new, and remembers it.
func (s *Session) once(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noted[key] {
		return false
	}
	if len(s.noted) > 4096 { // a flood of strangers
		clear(s.noted)
	}
	s.noted[key] = true
	return true
}

// again forgets that somebody was asked about a key.
func (s *Session) again(key string) {
	s.mu.Lock()
	delete(s.noted, key)
	s.mu.Unlock()
}

// introduce says who we are until somebody has given us the topic key.
func (s *Session) introduce(ctx context.Context) error {
	announce := s.o.Announce
	for try := 0; ; {
		var packet []byte
		err := s.tx(func(m *member) (err error) {
			if m.ready() && !announce || m.Removed() && !s.o.Rejoin {
				return nil
			}
			packet, err = m.Introduce(s.o.Now())
			return err
		})
		if err != nil {
			return err
		}
		var again <-chan time.Time
		if packet != nil {
			if err := s.o.Channel.Publish(ctx, s.payload(packet), false); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				s.o.Note(Note{Kind: NoteTrouble, Err: err})
			} else {
				announce = false
			}
			timer := time.NewTimer(s.o.Backoff(try, s.o.Jitter()))
			defer timer.Stop()
			again = timer.C
			try++
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-s.key:
			try = 0
		}
	}
}

// outboxLook is how often the outbox is looked at for what another process has left
// there.
const outboxLook = 10 * time.Second

// carry publishes what is in the outbox.
func (s *Session) carry(ctx context.Context) error {
	look := time.NewTicker(outboxLook)
	defer look.Stop()
	for try := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.leave:
		case <-look.C:
		}
		err := s.Flush(ctx)
		if err == nil {
			try = 0
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.As(err, new(stateError)) {
			return err
		}
		if errors.Is(err, ErrWaits) {
			continue // until there is a key
		}
		s.o.Note(Note{Kind: NoteTrouble, Err: err})
		timer := time.NewTimer(s.o.Backoff(try, s.o.Jitter()))
		try++
		select {
		case <-timer.C:
			poke(s.leave)
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// stateError marks trouble with the state file.
type stateError struct{ error }

func (e stateError) Unwrap() error { return e.error }

// Setup prepares a new, empty state file.
func Setup(f *bucketfile.File, setup stringphone.Setup) error {
	err := f.Update(func(b parley.Bucket) error {
		_, err := stringphone.Create(part{b, memberPart}, setup)
		return err
	})
	if err != nil {
		return fmt.Errorf("the topic's state: %w", err)
	}
	return nil
}
