package padstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"parley"
	"parley/internal/keyfile"
	"parley/secure/otp"
)

// A Pad is one end of a pad on disk. It is safe for concurrent use, and any number of
// processes may have the same one open. It implements [otp.Pad] for its one peer; for
// others the error is [parley.ErrNoKey].
type Pad struct {
	o           Options
	d           disk
	dir, path   string // of the pad; no part of it is a link
	readOnly    bool
	journalPath string
	metaPath    string // version 1
	version     otp.Version
	self, peer  parley.Name
	header      *otp.PadHeader  // version 2
	meta        *otp.MetadataV1 // version 1: what never changes
	size, split int64
	base        int64 // where position 0 is in the file
	lane        uint8
	whole       bool // not split yet: nothing is done with it
	label       []byte
	slack       int64

	mu      sync.Mutex
	queue   []*request
	leading bool
	closed  bool
	idle    *sync.Cond // signalled when nobody leads

	// What follows belongs to the one who leads, see batch.go.
	pad, lockFile, mark file
	secret              *secret // of the marks' folder, when it was read
	secretKept          bool    // and is on disk
	j                   *journal
	l                   *ledger
	stale               bool // the ledger may be ahead of the disk: read it anew
	least               mark // but no less than this was used
	rewrite             bool // the journal's file is not to be trusted
	burned              bool // the journal does not know yet that all is burned
	events              []Event
	buf                 []byte
}

const (
	padSuffix     = ".pad"
	storeSuffix   = ".random.store"
	metaSuffix    = ".random.metadata"
	journalSuffix = ".random.journal"
)

// Open opens the pad whose .pad, .random.store or .random.metadata file is named. The
// errors are [fs.ErrNotExist], [keyfile.ErrExposed], and [parley.ErrMalformed] for what is
// damaged or no pad.
func Open(path string, o Options) (*Pad, error) {
	p, err := open(path, o, false)
	if err == nil {
		if err = p.begin(); err == nil {
			p.emit()
			return p, nil
		}
		p.closeFiles()
	}
	if o.View && o.disk == nil && (errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)) {
		if p, again := open(path, o, true); again == nil {
			if err = p.begin(); err == nil {
				p.emit()
				return p, nil
			}
			p.closeFiles()
		}
	}
	return nil, fmt.Errorf("%s: %w", path, err)
}

// open opens the files of a pad, and reads no journal yet.
func open(path string, o Options, readOnly bool) (*Pad, error) {
	p := &Pad{o: o, d: o.disk, readOnly: readOnly}
	if p.d == nil {
		p.d = osDisk{o.NoSync, readOnly}
	}
	p.idle = sync.NewCond(&p.mu)
	if p.slack = o.slack; p.slack == 0 {
		p.slack = defaultSlack
	}
	var err error
	if p.o.Marks == "" {
		if p.o.Marks, err = MarksDir(); err != nil {
			return nil, fmt.Errorf("there is no folder for the marks of pads: name one, or set XDG_STATE_HOME: %w", err)
		}
	}
	// Two paths to one pad must find one journal.
	v1 := strings.HasSuffix(path, metaSuffix) || strings.HasSuffix(path, storeSuffix)
	if path, err = p.real(path, v1); err != nil {
		return nil, err
	}
	p.dir, p.path = filepath.Dir(path), path
	if v1 {
		err = p.openV1(path)
	} else {
		err = p.openV2()
	}
	if err == nil && !p.whole {
		err = p.single()
	}
	if err != nil {
		p.closeFiles()
		return nil, err
	}
	return p, nil
}

// real resolves links. The metadata of version 1 may be missing: the journal has it all.
func (p *Pad) real(path string, v1 bool) (string, error) {
	to, err := p.d.real(path)
	if v1 && errors.Is(err, fs.ErrNotExist) {
		dir, err := p.d.real(filepath.Dir(path))
		return filepath.Join(dir, filepath.Base(path)), err
	}
	return to, err
}

// single refuses a pad with a second name: by that, other programs would find it without
// its journal.
func (p *Pad) single() error {
	n, err := p.pad.links()
	if err != nil || n <= 1 {
		return err
	}
	return fmt.Errorf("%w: the file of the pad has %d names (hard links), and used by two of them it would be used twice: remove the others (find DIR -samefile %s shows them)", parley.ErrRefused, n, p.path)
}

// begin takes the lock and reads everything.
func (p *Pad) begin() error {
	if p.whole {
		return nil
	}
	if err := p.lock(); err != nil {
		return err
	}
	return errors.Join(p.load(), p.unlock())
}

func (p *Pad) openV2() error {
	if err := p.openPad(false); err != nil {
		return err
	}
	b := make([]byte, otp.PadHeaderSize)
	if _, err := p.pad.ReadAt(b, 0); err != nil {
		return fmt.Errorf("%w: it is too short for a pad: %w", parley.ErrMalformed, err)
	}
	h, err := otp.ParsePadHeader(b)
	if err != nil {
		return err
	}
	p.version, p.header, p.size, p.split, p.base = otp.V2, h, h.Size, h.Split, otp.PadHeaderSize
	p.journalPath = p.path + ".journal"
	own := h.Owner
	if own == otp.Whole {
		p.whole, own = true, 0
	}
	p.lane = uint8(own)
	p.self, p.peer = parley.Name(h.Names[own]), parley.Name(h.Names[1-own])
	p.label = fmt.Appendf(nil, "pad %x lane %d", h.ID, own)
	return p.checkSize()
}

func (p *Pad) openV1(path string) error {
	stem := strings.TrimSuffix(strings.TrimSuffix(path, metaSuffix), storeSuffix)
	p.version, p.metaPath, p.journalPath = otp.V1, stem+metaSuffix, stem+journalSuffix
	m, err := p.readMeta()
	if err != nil {
		var jerr error
		if m, jerr = p.metaFromJournal(); jerr != nil {
			return err
		}
		p.event(Recovered, "the metadata file could not be used (%v): its state was taken from the journal", err)
	}
	if n := m.StoreFilename; n != filepath.Base(n) || n == "." || n == ".." || strings.ContainsAny(n, `/\`) {
		return fmt.Errorf("%w: the metadata names a pad file outside of its folder: %q", parley.ErrMalformed, n)
	}
	p.path = filepath.Join(p.dir, m.StoreFilename)
	if to, err := p.d.real(p.path); err != nil {
		return err
	} else if to != p.path {
		return fmt.Errorf("%w: %s is a link: the pad must stand in the folder of its metadata", parley.ErrRefused, p.path)
	}
	p.setMeta(m)
	if err := p.openPad(true); err != nil {
		return err
	}
	return p.checkSize()
}

// setMeta keeps what never changes of the metadata.
func (p *Pad) setMeta(m *otp.MetadataV1) {
	fixed := *m
	fixed.EncryptIndex, fixed.DecryptLog, fixed.DecryptMax = 0, "", 0
	p.meta, p.size, p.split = &fixed, m.NBytes, m.SplitIndex
	p.self, p.peer = parley.Name(m.UID), parley.Name(m.RID)
	if m.Direction == -1 {
		p.lane = 1
	}
	p.label = fixed.Marshal()
}

// openPad opens the file of the pad. Files that the original has made are open to others:
// those are closed to them.
func (p *Pad) openPad(mend bool) error {
	if _, ok := p.d.(osDisk); ok {
		st, err := os.Stat(p.path)
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			return fmt.Errorf("%w: it is not a regular file", parley.ErrMalformed)
		}
		if perm := st.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" && !p.readOnly {
			if !mend {
				return fmt.Errorf("%w (mode %04o): if nobody has copied it, run: chmod 600 %s", keyfile.ErrExposed, perm, p.path)
			}
			if err := os.Chmod(p.path, 0o600); err != nil {
				return fmt.Errorf("%w (mode %04o): %w", keyfile.ErrExposed, perm, err)
			}
		}
	}
	var err error
	p.pad, err = p.d.open(p.path, false)
	return err
}

func (p *Pad) checkSize() error {
	n, err := p.pad.size()
	if err != nil {
		return err
	}
	if n < p.base+p.size || p.version == otp.V2 && n != p.base+p.size {
		return fmt.Errorf("%w: the file of the pad has %d bytes and should have %d: it was cut off, or not copied to its end", parley.ErrMalformed, n, p.base+p.size)
	}
	return nil
}

// lock takes the lock of the journal, which may have been removed or replaced while it was
// open, and that of the pad itself, to which there may be another path.
func (p *Pad) lock() error {
	if p.readOnly {
		return nil
	}
	for {
		if p.lockFile == nil {
			f, err := p.d.open(p.journalPath+".lock", true)
			if err != nil {
				return err
			}
			p.lockFile = f
		}
		if err := p.lockFile.lock(); err != nil {
			return err
		}
		same, err := p.lockFile.is(p.journalPath + ".lock")
		if err == nil && same {
			if err = p.pad.lock(); err == nil {
				return nil
			}
		}
		if err != nil {
			return errors.Join(err, p.lockFile.unlock())
		}
		p.lockFile.Close()
		p.lockFile = nil
	}
}

func (p *Pad) unlock() error {
	if p.readOnly {
		return nil
	}
	return errors.Join(p.pad.unlock(), p.lockFile.unlock())
}

// load reads the journal from its beginning. It makes sure that what it reads is on
// disk: another process may have been killed between write and fsync.
func (p *Pad) load() error {
	if p.l != nil {
		p.least = p.atLeast()
	}
	if p.j != nil {
		p.j.f.Close()
		p.j = nil
	}
	if p.mark != nil && p.version == otp.V1 { // the journal may have another name now
		p.mark.Close()
		p.mark = nil
	}
	p.l = nil
	f, err := p.d.open(p.journalPath, false)
	if err == nil {
		err = p.readJournal(f)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = p.fresh()
	}
	if err == nil && p.version == otp.V1 {
		err = p.mergeMeta()
	}
	if err != nil {
		p.l, p.stale = nil, true
		return err
	}
	p.stale, p.burned = false, false
	return nil
}

func (p *Pad) readJournal(f file) error {
	p.j = &journal{f: f}
	b, err := readAll(f, maxJournal)
	if err != nil {
		return err
	}
	if err := errors.Join(f.sync(), p.d.syncDir(p.dir)); err != nil {
		return err
	}
	p.j.readOnly = p.readOnly
	name, snapshot, rest, err := parseJournal(b)
	if err != nil {
		return p.damaged(err)
	}
	l, label, err := parseSnapshot(snapshot)
	if err != nil {
		return p.damaged(fmt.Errorf("%w: %w", errDamaged, err))
	}
	if !p.labelFits(label, l) {
		return fmt.Errorf("%w: %s is the journal of another pad: move it away if you know that this pad was never used", parley.ErrMalformed, p.journalPath)
	}
	p.j.name, p.j.next, p.j.at = name, 1, int64(len(b)-len(rest))
	p.j.base = p.j.at
	torn, err := p.j.take(rest, l)
	if err != nil {
		return p.damaged(err)
	}
	if torn {
		p.event(Recovered, "the last entry of the journal was not finished and was taken away: nothing had left with it")
	}
	foreign, err := p.foreignJournal(l)
	if err != nil {
		return err
	}
	if foreign {
		return p.setAside()
	}
	if p.version == otp.V1 && len(l.mark) == 0 { // an older journal names its mark
		l.mark = name[:]
	}
	p.l = l
	return nil
}

// setAside is what becomes of another pad's journal. The error is [fs.ErrNotExist]: this
// pad has none.
func (p *Pad) setAside() error {
	p.j.f.Close()
	p.j = nil
	if !p.readOnly {
		to, err := aside(p.d, p.journalPath, "old")
		if err != nil {
			return err
		}
		p.event(Replaced, "another pad of the same names stands here now: the journal of the one before is kept as %s", filepath.Base(to))
	}
	return fs.ErrNotExist
}

func (p *Pad) damaged(err error) error {
	return fmt.Errorf("%w: %s: %w: nothing is sent with a pad whose use is not known: \"parley pad recover FILE\" goes on by what can be read of it", parley.ErrMalformed, p.journalPath, err)
}

// labelFits reports whether a journal belongs to this pad.
func (p *Pad) labelFits(label []byte, l *ledger) bool {
	if l.version != p.version || l.size != p.size || l.own != p.lane {
		return false
	}
	if p.version == otp.V2 {
		return string(label) == string(p.label)
	}
	m, err := otp.ParseMetadataV1(label)
	return err == nil && m.UID == p.meta.UID && m.RID == p.meta.RID && m.SplitIndex == p.meta.SplitIndex
}

// fresh is the ledger of a pad without a journal. Burned pad says that there was one.
func (p *Pad) fresh() error {
	l := newLedger(p.version, p.size, p.split, p.lane)
	p.l = l
	from := int64(0)
	if p.version == otp.V1 { // the metadata file may know of more
		if m, _, err := p.readMetaText(); err == nil {
			if from = m.EncryptIndex; p.lane == 1 {
				from = p.size - 1 - from
			}
		}
	}
	n, err := p.burnedTo(min(max(from, 0), l.half[l.own]))
	if err != nil {
		return err
	}
	if n > 0 {
		l.room[0].pos, l.top, l.commit = n, n, 1
		p.event(Rollback, "the pad was used, and its journal is missing")
	}
	return nil
}

func (p *Pad) markPath() string {
	if p.version == otp.V2 {
		return filepath.Join(p.o.Marks, fmt.Sprintf("%x-%d", p.header.ID, p.lane))
	}
	return filepath.Join(p.o.Marks, hex.EncodeToString(p.l.mark))
}

func (p *Pad) event(kind, format string, args ...any) {
	p.events = append(p.events, Event{kind, p.peer, fmt.Sprintf(format, args...)})
}

// emit tells what has happened.
func (p *Pad) emit() {
	all := p.events
	p.events = nil
	if p.o.Event != nil {
		for _, e := range all {
			p.o.Event(e)
		}
	}
}

// Self is whose end of the pad this is.
func (p *Pad) Self() parley.Name { return p.self }

// Peer is the other person.
func (p *Pad) Peer() parley.Name { return p.peer }

// Version is the format of the pad's packets.
func (p *Pad) Version() otp.Version { return p.version }

// Path is the file of the pad.
func (p *Pad) Path() string { return p.path }

// Header returns the header of a pad of version 2, and nil of version 1.
func (p *Pad) Header() *otp.PadHeader {
	if p.header == nil {
		return nil
	}
	h := *p.header
	return &h
}
