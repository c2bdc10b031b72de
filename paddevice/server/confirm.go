package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"sync"
	"time"

	"parley"
	"parley/secure/otp"
)

// DefaultTimeout is how long a person has to answer.
const DefaultTimeout = 60 * time.Second

// maxQuestions is how many wait for an answer at most, and maxOfOne how many of them are
// one client's.
const (
	maxQuestions = 32
	maxOfOne     = 16
	maxOfRPC     = 4 // whoever reaches its port may ask: paired clients must get their turn
)

// What a client may want to do with a pad.
const (
	OpPackage   = "package"
	OpUnpackage = "unpackage"
	OpGrant     = "grant"
)

// A Question is what a person is asked.
type Question struct {
	Op         string
	Self, Peer parley.Name
	Client     string // who asks
	Again      bool   // it was done before, for another client: no more pad is used
	Message    int64  // bytes of the message, or at most so many
	Pad        int64  // bytes of pad that this uses up
	Left       int64  // bytes of pad that are left for sending after it
}

// An Asked is a question as it is shown. Only the first of those that wait is.
type Asked struct {
	Question
	Number string        // what the answer must repeat
	Within time.Duration // until it is denied
	More   int           // questions behind it
}

type question struct {
	Question
	number string
	until  time.Time // zero: not shown yet
	timer  *time.Timer
	done   chan struct{}
	err    error
}

// Why a question was not answered by yes. All of them are [parley.ErrDenied].
var (
	errRejected = fmt.Errorf("%w: the person at the pad device has said no", parley.ErrDenied)
	errTimeout  = fmt.Errorf("%w: at the pad device: %w", parley.ErrDenied, otp.ErrUnanswered)
	errBusy     = fmt.Errorf("%w: too many questions wait at the pad device: %w", parley.ErrDenied, otp.ErrUnanswered)
	errStopping = fmt.Errorf("%w: the pad device is stopping", parley.ErrOffline)
)

// ErrNumber means that an answer is to no question that is shown.
var ErrNumber = errors.New("this is not the number of the question that is shown")

// A Confirm asks a person, one question after the other. Faces show the first question
// and bring the answer: the terminal and the page.
type Confirm struct {
	timeout time.Duration
	// outcome is told how a question ended: nil is yes, and a context's error that the
	// client has gone. It may be nil, and must not call back.
	outcome func(q Question, number string, err error)

	mu      sync.Mutex
	waiting []*question
	closed  bool
	recent  [2 * maxQuestions]string
	next    int
	version int
	changed chan struct{}
}

// NewConfirm makes a Confirm. A timeout of 0 is [DefaultTimeout].
func NewConfirm(timeout time.Duration, outcome func(q Question, number string, err error)) *Confirm {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if outcome == nil {
		outcome = func(Question, string, error) {}
	}
	return &Confirm{timeout: timeout, outcome: outcome, changed: make(chan struct{})}
}

// Ask asks and waits for the answer; nil is yes. When ctx ends first, the question goes.
func (c *Confirm) Ask(ctx context.Context, what Question) error {
	c.mu.Lock()
	q, err := c.add(what)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-q.done: // answered at the same moment: the answer counts
		return q.err
	default:
	}
	c.end(q, context.Cause(ctx))
	return context.Cause(ctx)
}

func (c *Confirm) add(what Question) (*question, error) {
	if c.closed {
		return nil, errStopping
	}
	of, most := 0, maxOfOne
	if what.Client == rpcClient {
		most = maxOfRPC
	}
	for _, q := range c.waiting {
		if q.Client == what.Client {
			of++
		}
	}
	if len(c.waiting) >= maxQuestions || of >= most {
		return nil, errBusy
	}
	q := &question{Question: what, done: make(chan struct{})}
	// An answer that comes late must not fit the question that came instead.
	for q.number == "" || slices.Contains(c.recent[:], q.number) {
		n, err := rand.Int(rand.Reader, big.NewInt(900))
		if err != nil {
			return nil, err
		}
		q.number = strconv.FormatInt(100+n.Int64(), 10)
	}
	c.recent[c.next] = q.number
	c.next = (c.next + 1) % len(c.recent)
	c.waiting = append(c.waiting, q)
	c.show()
	return q, nil
}

// show starts the time of the first question.
func (c *Confirm) show() {
	if len(c.waiting) > 0 && c.waiting[0].until.IsZero() {
		q := c.waiting[0]
		q.until = time.Now().Add(c.timeout)
		q.timer = time.AfterFunc(c.timeout, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.end(q, errTimeout)
		})
	}
	c.version++
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Confirm) end(q *question, err error) {
	i := slices.Index(c.waiting, q)
	if i < 0 {
		return
	}
	if q.timer != nil {
		q.timer.Stop()
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	q.err = err
	close(q.done)
	c.outcome(q.Question, q.number, err)
	c.show()
}

// Answer answers the question that is shown. The error is [ErrNumber].
func (c *Confirm) Answer(number string, yes bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 || c.waiting[0].number != number {
		return ErrNumber
	}
	err := error(nil)
	if !yes {
		err = errRejected
	}
	c.end(c.waiting[0], err)
	return nil
}

// Shown returns the question that is shown, or nil, and a channel that is closed when
// that changes.
func (c *Confirm) Shown() (a *Asked, version int, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) > 0 {
		q := c.waiting[0]
		a = &Asked{q.Question, q.number, time.Until(q.until), len(c.waiting) - 1}
	}
	return a, c.version, c.changed
}

// Close ends all questions; nothing is allowed by it.
func (c *Confirm) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for len(c.waiting) > 0 {
		c.end(c.waiting[0], errStopping)
	}
}
