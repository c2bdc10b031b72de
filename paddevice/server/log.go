package server

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"parley/internal/term"
)

// Kinds of an [Entry] beside padstore's kinds of events.
const (
	KindStart   = "start"
	KindStop    = "stop"
	KindAllow   = "allow-all"    // the device runs without asking anybody
	KindDenied  = "denied"       // a person said no
	KindTimeout = "timeout"      // nobody said anything
	KindBusy    = "busy"         // more questions than are kept
	KindClient  = "wrong client" // a client that is not paired
	KindPage    = "wrong page"   // the page was asked without its secret, or by another site
	KindPair    = "pair"
	KindUnpair  = "unpair"
	KindCode    = "wrong code" // a pairing with a wrong secret
	KindRule    = "rule"
	KindText    = "not text" // a message that the original's RPC cannot carry
	KindRuled   = "by rule"  // a rule has allowed it
	KindFailed  = "failed"   // something that clients are not told of: a disk, a damaged pad
	KindLog     = "log"      // the log itself is not as it was
	KindMark    = "no mark"  // what came before has no mark: it was moved here, or the marks are lost
)

// What others can bring about is counted when it comes again within a time, and written as
// the count doubles, and when the time is over.
const (
	firstWindow = time.Minute
	lastWindow  = time.Hour
	maxPending  = 256
	maxRepeats  = 512
)

// always kinds are rare, and each of them counts.
var always = []string{KindStart, KindStop, KindAllow, KindPair, KindUnpair, KindRule, KindLog, KindMark}

// A Log appends to the event log of a folder. Other processes may do so, too.
type Log struct {
	dir, marks string
	told       func(Entry) // each line, once; may be nil
	warn       func(error)

	mu      sync.Mutex
	pending []queued
	lost    int // that had no place in pending
	repeats map[[3]string]*repeat
	writing bool
	idle    *sync.Cond // nobody writes
	timer   *time.Timer
	closed  bool

	disk sync.Mutex // of who has the folder's lock, for what follows
	file *os.File
	head *head // as it was left; nil: not looked yet
	tail tail
	last int64     // where the last line begins
	mod  time.Time // of the file
}

type queued struct {
	Entry
	told bool
}

type repeat struct {
	entry  Entry
	count  int // since the last line
	next   int // how many make a line
	seen   bool
	until  time.Time
	window time.Duration
}

// OpenLog opens or makes the log. A log that is not as it was left gets a line that says
// so. told and warn, which gets what keeps the log from being written, may be nil; neither
// may wait or call back. The error is [ErrLog] when the mark is damaged.
func OpenLog(dir, marks string, told func(Entry), warn func(error)) (*Log, error) {
	if told == nil {
		told = func(Entry) {}
	}
	if warn == nil {
		warn = func(error) {}
	}
	l := &Log{dir: dir, marks: marks, told: told, warn: warn, repeats: map[[3]string]*repeat{}}
	l.idle = sync.NewCond(&l.mu)
	if _, err := l.append(nil); err != nil {
		if l.file != nil {
			l.file.Close()
		}
		return nil, err
	}
	return l, nil
}

// Broken is how the log was found changed, now or earlier, or "".
func (l *Log) Broken() string {
	l.disk.Lock()
	defer l.disk.Unlock()
	return l.head.Broken
}

// Add takes an entry to be written. It does not wait for that: [Log.Sync] does.
func (l *Log) Add(e Entry) {
	e.prepare()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if !slices.Contains(always, e.Kind) {
		key := [3]string{e.Kind, e.Peer, e.Client}
		if len(l.repeats) >= maxRepeats && l.repeats[key] == nil {
			key = [3]string{e.Kind}
		}
		if r := l.repeats[key]; r != nil {
			r.entry, r.seen = e, true
			if r.count++; r.count >= r.next {
				r.next *= 2
				l.push(r.sum())
			}
			return
		}
		l.repeats[key] = &repeat{next: 1, until: e.Time.Add(firstWindow), window: firstWindow}
		l.arm()
	}
	l.push(e)
}

// prepare makes an entry fit for a line, whoever its texts are from.
func (e *Entry) prepare() {
	e.Time = time.Now().UTC().Truncate(time.Millisecond)
	e.Kind, e.Peer, e.Client, e.Text = clip(e.Kind), clip(e.Peer), clip(e.Client), clip(e.Text)
}

func clip(s string) string {
	s = term.Line(s)
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return s
}

func (l *Log) push(e Entry) {
	if len(l.pending) >= maxPending {
		l.lost++ // the disk is full; warn has said so
		return
	}
	l.pending = append(l.pending, queued{Entry: e})
	l.begin()
}

func (l *Log) begin() {
	if !l.writing && len(l.pending) > 0 {
		l.writing = true
		go l.write()
	}
}

// arm has the earliest window looked after when it ends.
func (l *Log) arm() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	var first time.Time
	for _, r := range l.repeats {
		if first.IsZero() || r.until.Before(first) {
			first = r.until
		}
	}
	if !first.IsZero() {
		l.timer = time.AfterFunc(time.Until(first), l.tick)
	}
}

func (l *Log) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	now := time.Now()
	for key, r := range l.repeats {
		if r.until.After(now) {
			continue
		}
		if !r.seen {
			delete(l.repeats, key)
			continue
		}
		if r.count > 0 {
			l.push(r.sum())
		}
		r.seen = false
		r.window = min(2*r.window, lastWindow)
		r.until = now.Add(r.window)
	}
	l.arm()
}

// sum is the line about all that came since the last one.
func (r *repeat) sum() Entry {
	e := r.entry
	e.Count, r.count = r.count, 0
	return e
}

// Sync waits until all that was added is on disk, or cannot be.
func (l *Log) Sync() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing {
		l.idle.Wait()
	}
}

// Close writes what was only counted so far.
func (l *Log) Close() error {
	l.mu.Lock()
	for _, r := range l.repeats {
		if r.count > 0 {
			l.push(r.sum())
		}
	}
	clear(l.repeats)
	l.arm()
	l.closed = true
	for l.writing {
		l.idle.Wait()
	}
	if len(l.pending) > 0 { // what the disk had no room for
		l.begin()
		for l.writing {
			l.idle.Wait()
		}
	}
	l.mu.Unlock()
	l.disk.Lock()
	defer l.disk.Unlock()
	return l.file.Close()
}

// write writes until nothing is pending. What cannot be written waits for the next entry.
func (l *Log) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending) > 0 {
		batch := l.pending
		l.pending = nil
		entries := make([]Entry, len(batch))
		for i, q := range batch {
			entries[i] = q.Entry
		}
		l.mu.Unlock()
		taken, err := l.append(entries)
		for i := range batch {
			if !batch[i].told {
				batch[i].told = true
				l.told(batch[i].Entry)
			}
		}
		l.mu.Lock()
		if err != nil {
			l.pending = append(batch[taken:], l.pending...)
			if n := len(l.pending) - maxPending; n > 0 {
				l.pending, l.lost = l.pending[:maxPending], l.lost+n
			}
			l.warn(fmt.Errorf("the event log cannot be written, %d lines wait and %d are lost: %w", len(l.pending), l.lost, err))
			break
		}
	}
	l.writing = false
	l.idle.Broadcast()
}

// String is an entry for people.
func (e Entry) String() string {
	s := fmt.Sprintf("%s %s", e.Time.Local().Format("2006-01-02 15:04:05"), e.Kind)
	if e.Count > 0 {
		s += fmt.Sprintf(" (%d more)", e.Count)
	}
	if e.Peer != "" {
		s += ", peer " + term.Line(e.Peer)
	}
	if e.Client != "" {
		s += ", client " + term.Line(e.Client)
	}
	if e.Text != "" {
		s += ": " + term.Line(e.Text)
	}
	return s
}
