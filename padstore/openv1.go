package padstore

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"parley"
	"parley/secure/otp"
)

// readMeta reads the metadata file as it is now.
func (p *Pad) readMeta() (*otp.MetadataV1, error) {
	m, _, err := p.readMetaText()
	return m, err
}

func (p *Pad) readMetaText() (*otp.MetadataV1, []byte, error) {
	b, err := p.metaBytes()
	if err != nil {
		return nil, nil, err
	}
	m, err := parseMeta(b)
	return m, b, err
}

func (p *Pad) metaBytes() ([]byte, error) {
	f, err := p.d.open(p.metaPath, false)
	if err != nil {
		return nil, err
	}
	b, err := readAll(f, otp.MaxMetadataV1)
	return b, errors.Join(err, f.Close())
}

func parseMeta(b []byte) (*otp.MetadataV1, error) {
	m, err := otp.ParseMetadataV1(b)
	if err != nil {
		return nil, err
	}
	if m.DecryptMax < -1 || m.DecryptMax > m.NBytes {
		return nil, fmt.Errorf("%w: the metadata of the pad: decrypt_max is not in the pad", parley.ErrMalformed)
	}
	return m, nil
}

// metaFromJournal returns what a journal says of the pad's metadata.
func (p *Pad) metaFromJournal() (*otp.MetadataV1, error) {
	f, err := p.d.open(p.journalPath, false)
	if err != nil {
		return nil, err
	}
	b, err := readAll(f, maxJournal)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	_, snapshot, _, err := parseJournal(b)
	if err != nil {
		return nil, err
	}
	_, label, err := parseSnapshot(snapshot)
	if err != nil {
		return nil, err
	}
	return otp.ParseMetadataV1(label)
}

// mergeMeta takes the metadata file into the ledger. When it is the one that we wrote
// last, the journal says more than it does. Else another program has used the pad, or the
// file is an old one: of both the further counts.
func (p *Pad) mergeMeta() error {
	l := p.l
	text, err := p.metaBytes()
	if err == nil && p.j != nil && sha256.Sum256(text) == l.wroteMeta {
		return nil
	}
	var m *otp.MetadataV1
	if err == nil {
		m, err = parseMeta(text)
	}
	if err != nil {
		if p.j == nil {
			return err
		}
		l.metaStale = true // Open has told
		return nil
	}
	if m.UID != p.meta.UID || m.RID != p.meta.RID || m.NBytes != p.size || m.SplitIndex != p.split || m.Direction != p.meta.Direction {
		return fmt.Errorf("%w: the metadata file is another pad's now", parley.ErrMalformed)
	}
	segments, err := m.Segments()
	if err != nil {
		return err
	}
	p.setMeta(m)
	top, theirTop := m.EncryptIndex, m.DecryptMax
	if p.lane == 1 {
		top = p.size - 1 - top
	} else { // the peer goes down
		theirTop = p.size - 1 - theirTop
	}
	theirTop = max(theirTop, 0)
	foreign := top > l.top || theirTop > l.theirTop
	log, more := mergeLog(l.log, []byte(m.DecryptLog))
	if p.j != nil && (foreign || more) {
		p.event(Foreign, "another program has used the pad since: what it used counts as used")
	}
	if foreign || more {
		p.rewrite = p.j != nil && !p.readOnly
	}
	l.metaStale = top < l.top || theirTop < l.theirTop || !bytes.Equal(log, []byte(m.DecryptLog))
	if !l.metaStale {
		l.wroteMeta = sha256.Sum256(text)
	}
	l.top, l.theirTop, l.log = max(l.top, top), max(l.theirTop, theirTop), log
	l.room[0].pos = max(l.room[0].pos, min(l.top, l.room[0].end))
	before := l.seen.count()
	all := make([]span, 0, len(segments)+len(l.seen))
	for _, s := range segments {
		all = append(all, l.segment(s))
	}
	l.seen = spansOf(append(all, l.seen...))
	if p.j == nil || l.seen.count() != before {
		l.received = uint64(bytes.Count(log, []byte{','}) / 3)
	}
	return nil
}

// segment returns an entry of the log in the peer's travel coordinate.
func (l *ledger) segment(s otp.SegmentV1) span {
	at := span{s.Start, s.End}
	if s.End < s.Start {
		at = span{s.End + 1, s.Start + 1}
	}
	at.start, at.end = min(max(at.start, 0), l.size), min(max(at.end, 0), l.size)
	return l.positions(l.peer(), at)
}

// mergeLog returns a log with all entries of ours and of theirs, and whether theirs had
// any that ours has not. Entries keep their order.
func mergeLog(ours, theirs []byte) (all []byte, more bool) {
	switch {
	case bytes.HasPrefix(ours, theirs):
		return ours, false
	case bytes.HasPrefix(theirs, ours):
		return bytes.Clone(theirs), true
	}
	there := map[string]bool{}
	for e := range strings.SplitSeq(strings.TrimSuffix(string(theirs), ","), ",") {
		there[e] = true
	}
	all = bytes.Clone(theirs)
	if len(all) > 0 && all[len(all)-1] != ',' {
		all = append(all, ',')
	}
	for e := range strings.SplitSeq(strings.TrimSuffix(string(ours), ","), ",") {
		if !there[e] {
			all = append(append(all, e...), ',')
		}
		delete(there, e)
	}
	return all, len(there) > 0
}

// appendLogV1 adds a message's three entries to a log, as the original does.
func appendLogV1(log []byte, l *ledger, t span) []byte {
	m := (t.len() - otp.UseV1(0)) / 2
	at, step := t.start, int64(1)
	if l.peer() == 1 {
		at, step = l.size-1-t.start, -1
	}
	for _, n := range [3]int64{m, m + 32, 16} { // text, text and tag, key
		log = append(strconv.AppendInt(log, at, 10), '-')
		at += step * n
		log = append(strconv.AppendInt(log, at, 10), ',')
	}
	return log
}

// metaText is the metadata file as it should be now.
func (p *Pad) metaText() []byte {
	m, l := *p.meta, p.l
	m.EncryptIndex, m.DecryptMax = l.top, l.theirTop
	if p.lane == 1 {
		m.EncryptIndex = p.size - 1 - l.top
	} else {
		m.DecryptMax = p.size - 1 - l.theirTop
	}
	m.DecryptLog = string(l.log)
	return m.Marshal()
}

// writeMeta puts the metadata file in its place when it is behind. The journal learns
// of it with its next frame.
func (p *Pad) writeMeta() (digest [32]byte, err error) {
	text := p.metaText()
	if err := replace(p.d, p.metaPath, text); err != nil {
		return digest, err
	}
	return sha256.Sum256(text), nil
}
