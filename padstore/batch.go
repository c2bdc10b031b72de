package padstore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"parley"
	"parley/secure/otp"
)

// Calls that come at the same time share one write and one fsync: the first leads, and
// takes those that have come meanwhile with its next batch.

// ErrClosed means that the pad was closed.
var ErrClosed = errors.New("the pad is closed")

var (
	errReplaced = fmt.Errorf("%w: the file of the pad was moved away, or another one is in its place: open it again", parley.ErrNoKey)
	errNotSplit = fmt.Errorf("%w: this is a whole pad: make the two people's files of it with \"parley pad split\"", parley.ErrRefused)
	errReadOnly = fmt.Errorf("%w: the pad is on a medium that can only be read: copy it to where it is to be used", parley.ErrRefused)

	// Nothing leaves, or is shown, that is not on disk.
	errDisk = errors.New("it could not be written down")
)

// What a request is for.
const (
	looking = iota
	sending
	receiving
	finishing
	skipping
	closing
)

// consequence says what comes of a request when it could not be written down.
var consequence = map[int]string{
	sending:   "nothing has left, and the pad that was meant for it counts as used",
	receiving: "the message was not taken: open it again",
	finishing: "that the packet is safe is not on disk: say so again",
	skipping:  "ask again",
	closing:   "what was answered before is on disk",
}

type request struct {
	ctx   context.Context
	stage func(*batch) error
	what  int
	burns bool // answered only when what was used up is overwritten
	err   error
	done  chan struct{}
}

func (r *request) failed(err error) error {
	if text := consequence[r.what]; text != "" && errors.Is(err, errDisk) {
		return fmt.Errorf("%w; %s", err, text)
	}
	return err
}

// do and act run stage with the lock held, and return when what it staged is on disk. When the
// error is not nil, nothing of what stage has computed may leave.
func (p *Pad) do(ctx context.Context, burns bool, stage func(*batch) error) error {
	return p.act(ctx, looking, burns, stage)
}

func (p *Pad) act(ctx context.Context, what int, burns bool, stage func(*batch) error) error {
	if p.whole {
		return errNotSplit
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ErrClosed
	}
	return p.join(&request{ctx: ctx, stage: stage, what: what, burns: burns, done: make(chan struct{})})
}

// join queues a request, with p.mu held, and leads if nobody does.
func (p *Pad) join(r *request) error {
	p.queue = append(p.queue, r)
	if p.leading {
		p.mu.Unlock()
		<-r.done
		return r.err
	}
	p.leading = true
	for len(p.queue) > 0 {
		all := p.queue
		p.queue = nil
		p.mu.Unlock()
		p.run(all)
		events := p.events
		p.events = nil
		for _, r := range all {
			close(r.done)
		}
		if p.o.Event != nil {
			for _, e := range events {
				p.o.Event(e)
			}
		}
		p.mu.Lock()
	}
	p.leading = false
	p.idle.Broadcast()
	p.mu.Unlock()
	return r.err
}

// A batch is what is staged together.
type batch struct {
	p      *Pad
	sight  bool // the mark is being looked at
	recs   []byte
	commit uint64 // of the records that use pad
	raise  bool   // the mark must be raised
	looked bool   // at the mark
	held   bool
	create bool // the mark may be made although pad was used
}

// stage takes a record into the ledger and the batch.
func (b *batch) stage(r *record) error {
	if b.p.readOnly {
		if !b.sight {
			return errReadOnly
		}
		return b.p.l.apply(r) // what the mark says is seen, and not written down
	}
	if err := b.p.l.apply(r); err != nil {
		b.p.stale = true
		return err
	}
	b.recs = r.append(b.recs)
	b.raise = b.raise || r.kind == recSend || r.kind == recJump
	return nil
}

// run does all requests in one batch, and sets their errors.
func (p *Pad) run(all []*request) {
	err := p.lock()
	if err == nil {
		b := &batch{p: p}
		if err = p.ready(); err == nil {
			for _, r := range all {
				if r.err = r.ctx.Err(); r.err == nil {
					r.err = r.stage(b)
				}
			}
			err = b.finish(all)
		}
		if p.mark != nil {
			err = errors.Join(err, p.mark.unlock())
		}
		err = errors.Join(err, p.unlock())
	}
	for _, r := range all {
		if err != nil && r.err == nil {
			r.err = r.failed(err)
		}
	}
}

// ready brings the ledger up to what other processes have written.
func (p *Pad) ready() error {
	if same, err := p.pad.is(p.path); err != nil || !same {
		return errors.Join(err, errReplaced)
	}
	if !p.stale && p.l != nil {
		if err := p.refresh(); err != nil && !errors.Is(err, errDamaged) {
			return err
		} else if err != nil {
			p.stale = true
		}
	}
	if p.stale || p.l == nil {
		if err := p.load(); err != nil {
			return err
		}
	}
	if p.rewrite && !p.readOnly {
		if err := p.writeJournal(); err != nil {
			return p.failed(err)
		}
	}
	if len(p.l.burn) > 0 && !p.readOnly {
		_ = p.overwrite() // else the next batch tries again
	}
	return nil
}

func (p *Pad) refresh() error {
	if p.j == nil { // somebody may have made one
		f, err := p.d.open(p.journalPath, false)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			f.Close()
			p.stale = true
		}
		return err
	}
	if same, err := p.j.f.is(p.journalPath); err != nil || !same {
		p.stale = true
		return err
	}
	was := p.j.at
	torn, err := p.j.read(p.l)
	if err == nil && (p.j.at != was || torn) {
		err = p.j.f.sync()
	}
	return err
}

// look reads the mark, once in a batch. When it is ahead, what it says was used counts as
// used; when there should be one and is none, nothing is sent.
func (b *batch) look() error {
	if b.looked {
		return nil
	}
	p, l := b.p, b.p.l
	alone := p.j == nil // what was used before had a journal
	if err := b.name(); err != nil {
		return err
	}
	used := p.used()
	if p.mark == nil {
		var err error
		if p.mark, err = openMark(p.d, p.markPath(), (b.create || !used) && !p.readOnly); err != nil {
			return fmt.Errorf("the mark of the pad: %w", err)
		}
	}
	var m mark
	there := false
	if p.mark != nil {
		err := p.mark.lock()
		if err == nil {
			m, there, err = readMark(p.mark)
		}
		if err != nil {
			return fmt.Errorf("the mark of the pad: %w", err)
		}
	}
	b.looked, b.held = true, !there && used && !b.create
	if there && (m.commit > max(l.commit, p.least.commit)+1 || alone && m.commit > l.commit) {
		p.event(Rollback, "the pad's folder was put back from an old copy, or there is another copy: what the other one has used counts as used (%d bytes)", max(m.top-l.top, 0))
	}
	m = p.least.and(m)
	b.commit = max(l.commit, m.commit) + 1
	if m.ahead(l) {
		b.sight = true
		defer func() { b.sight = false }()
		// A number may have left even when the mark is only one batch ahead.
		return b.stage(&record{kind: recJump, t: m.top, seq: max(l.seq, m.seq), commit: m.commit, l0: m.l0, floor: m.top})
	}
	return nil
}

// name sees to it that the mark of version 1 has a name, which is in the journal before
// there is a mark.
func (b *batch) name() error {
	p, l := b.p, b.p.l
	if p.readOnly {
		return nil
	}
	if p.version == otp.V1 && (len(l.mark) < nameLen || b.create) {
		name, err := p.ownName(true)
		if err != nil {
			return err
		}
		if name == nil && len(l.mark) == 0 {
			name = newMarkName(p.secret)
		}
		if name != nil && !bytes.Equal(name, l.mark) {
			if p.mark != nil { // of another folder of marks
				p.mark.Close()
				p.mark = nil
			}
			if n := len(l.mark); n > 0 && n < nameLen {
				if err := p.renameMark(l.mark, name); err != nil {
					return err
				}
			}
			l.mark, p.rewrite = name, true
		}
	}
	if p.j == nil || p.rewrite {
		if err := p.writeJournal(); err != nil {
			return p.failed(err)
		}
		b.recs = nil // the snapshot has them
	}
	return nil
}

// renameMark gives a mark that an older journal has named the name that it has now.
func (p *Pad) renameMark(from, to []byte) error {
	if p.marked(to) || !p.marked(from) {
		return nil
	}
	path := func(name []byte) string { return filepath.Join(p.o.Marks, hex.EncodeToString(name)) }
	return errors.Join(p.d.rename(path(from), path(to)), p.d.syncDir(p.o.Marks))
}

// marked reports whether there is a mark of that name.
func (p *Pad) marked(name []byte) bool {
	f, err := openMark(p.d, filepath.Join(p.o.Marks, hex.EncodeToString(name)), false)
	if f != nil {
		f.Close()
	}
	return f != nil || err != nil
}

// used reports whether there must be a mark: something was sent from here before.
func (p *Pad) used() bool { return p.l.commit > 0 || p.version == otp.V2 && p.l.top > 0 }

// ahead reports whether a mark knows of use that the ledger does not.
func (m mark) ahead(l *ledger) bool {
	return m != mark{} && (m.commit > l.commit || m.top > l.top || m.l0 < l.room[0].end)
}

// and is the further of two marks.
func (m mark) and(o mark) mark {
	if o == (mark{}) {
		return m
	}
	if m == (mark{}) {
		return o
	}
	return mark{max(m.commit, o.commit), max(m.seq, o.seq), max(m.top, o.top), min(m.l0, o.l0)}
}

// atLeast is what the ledger knows of the use, also of what is not on disk.
func (p *Pad) atLeast() mark {
	l := p.l
	if l.top == 0 && l.commit == 0 {
		return p.least
	}
	return mark{l.commit, l.seq, l.top, l.room[0].end}.and(p.least)
}

const markMissing = "the mark of this pad, which is kept outside of its folder, is missing: this may be an old copy of the pad, and its next bytes may have been used. If this is the only copy, go on with \"parley pad skip FILE --moved\""

func errHeldWith(why string) error {
	return fmt.Errorf("%w: %w: %s", parley.ErrDenied, otp.ErrHeld, why)
}

// finish has what was staged on disk: first the mark, then the journal. Then it burns.
func (b *batch) finish(all []*request) error {
	p := b.p
	if p.stale { // nothing of the batch is to be trusted
		return fmt.Errorf("%w: another request of the same moment failed: try again", errDisk)
	}
	if len(b.recs) > 0 {
		if err := b.write(); err != nil {
			return p.failed(err)
		}
	}
	if len(p.l.burn) > 0 && !p.readOnly {
		if err := p.overwrite(); err != nil {
			for _, r := range all {
				if r.burns && r.err == nil {
					r.err = fmt.Errorf("used pad could not be overwritten, which is tried again: %w", err)
				}
			}
		}
	}
	if p.j != nil && p.j.at > 2*p.j.base+p.slack && !p.readOnly {
		_ = p.compact() // else the next batch tries again
	}
	return nil
}

// defaultSlack is how long a journal grows beyond twice its snapshot before it is
// rewritten.
const defaultSlack = 256 << 10

func (b *batch) write() error {
	p := b.p
	if b.raise && p.mark != nil {
		m := mark{p.l.commit, p.l.seq, p.l.top, p.l.room[0].end}
		if err := m.write(p.mark); err != nil {
			return fmt.Errorf("the mark of the pad: %w", err)
		}
	}
	if p.j == nil || p.rewrite {
		return p.writeJournal()
	}
	recs := b.recs
	if p.burned {
		recs = append((&record{kind: recBurned}).append(nil), recs...)
	}
	if err := p.j.append(recs); err != nil {
		p.rewrite = true
		return err
	}
	p.burned = false
	return nil
}

// failed keeps in mind that the ledger may be ahead of the disk.
func (p *Pad) failed(err error) error {
	p.stale = true
	p.least = p.atLeast()
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: the disk is full: make room and try again: %w", errDisk, err)
	}
	return fmt.Errorf("%w: %w", errDisk, err)
}

// writeJournal puts a journal with only a snapshot in place.
func (p *Pad) writeJournal() error {
	name := newJournalName()
	if p.j != nil {
		name = p.j.name
	}
	b := journalFile(name, p.l.snapshot(p.label))
	p.rewrite = true
	if err := replace(p.d, p.journalPath, b); err != nil {
		return err
	}
	f, err := p.d.open(p.journalPath, false)
	if err != nil {
		return err
	}
	if p.j != nil {
		p.j.f.Close()
	}
	p.j = &journal{f: f, name: name, next: 1, at: int64(len(b)), base: int64(len(b))}
	p.rewrite, p.burned, p.least = false, false, mark{}
	return nil
}

// compact writes the journal anew, and the metadata file of version 1 before it.
func (p *Pad) compact() error {
	if p.version == otp.V1 && p.l.metaStale {
		digest, err := p.writeMeta()
		if err != nil {
			return err
		}
		p.l.wroteMeta, p.l.metaStale = digest, false
	}
	if err := p.writeJournal(); err != nil {
		p.stale = true
		return err
	}
	return nil
}

// overwrite burns what is used up: zeros, fsync, and the blocks back.
func (p *Pad) overwrite() error {
	zeros := make([]byte, 64<<10)
	for _, at := range p.l.burn {
		for n := at.start; n < at.end; n += int64(len(zeros)) {
			if _, err := p.pad.WriteAt(zeros[:min(int64(len(zeros)), at.end-n)], p.base+n); err != nil {
				return err
			}
		}
	}
	if err := p.pad.sync(); err != nil {
		return err
	}
	for _, at := range p.l.burn {
		wide := p.wholeBlocks(span{p.base + at.start, p.base + at.end})
		_ = p.pad.punch(wide.start, wide.len())
	}
	p.l.burn, p.burned = nil, true
	return nil
}

// Close closes the pad. Of version 1, the metadata file is then as the original would
// have left it. It may be repeated.
func (p *Pad) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	var err error
	if p.whole {
		p.mu.Unlock()
	} else {
		err = p.join(&request{ctx: context.Background(), stage: p.settle, what: closing, done: make(chan struct{})})
		p.mu.Lock()
		for p.leading {
			p.idle.Wait()
		}
		p.mu.Unlock()
	}
	return errors.Join(err, p.closeFiles())
}

// settle makes the metadata file current.
func (p *Pad) settle(b *batch) error {
	if p.version != otp.V1 || !p.l.metaStale || p.readOnly {
		return nil
	}
	digest, err := p.writeMeta()
	if err != nil {
		return fmt.Errorf("the metadata file is behind the journal, which has everything: %w", err)
	}
	return b.stage(&record{kind: recMeta, digest: digest})
}

func (p *Pad) closeFiles() error {
	var errs []error
	for _, f := range []file{p.pad, p.lockFile, p.mark} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if p.j != nil && p.j.f != nil {
		errs = append(errs, p.j.f.Close())
	}
	return errors.Join(errs...)
}
