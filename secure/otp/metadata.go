package otp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"parley"
	"parley/internal/jsonobject"
)

// MaxMetadataV1 is the longest metadata file that is read, in bytes: its log grows by
// some 60 bytes with every message received.
const MaxMetadataV1 = 1 << 30

// MetadataV1 is the file that One Time Chat keeps beside a pad (seeds/one-time-chat
// §6.1). Positions and lengths are in bytes.
type MetadataV1 struct {
	UID, RID                        string // whose it is, and the contact
	StoreFilename, MetadataFilename string
	NBytes                          int64
	RService                        string // "random" or "urandom"
	SplitIndex                      int64  // below it is the half of direction 1
	Direction                       int    // of our sending: 1 up from 0, -1 down from NBytes-1
	EncryptIndex                    int64  // the next position to send with
	DecryptLog                      string // "start-end," for each segment read, end exclusive
	DecryptMax                      int64  // how far the contact's messages have come
	// Extra has members that neither we nor the original know: strings and int64.
	Extra map[string]any
}

// NewMetadataV1 returns the metadata of a fresh pad of n bytes, as the original's
// generator writes it. first says whose half is the lower one.
func NewMetadataV1(uid, rid string, n int64, rservice string, first bool) *MetadataV1 {
	m := &MetadataV1{
		UID: uid, RID: rid, NBytes: n, RService: rservice, SplitIndex: n / 2,
		Direction: 1, DecryptMax: n - 1,
		StoreFilename: StoreNameV1(uid, rid), MetadataFilename: MetadataNameV1(uid, rid),
	}
	if !first {
		m.Direction, m.EncryptIndex, m.DecryptMax = -1, n-1, 0
	}
	return m
}

// StoreNameV1 and MetadataNameV1 are the names under which the original's device looks
// for a pad.
func StoreNameV1(uid, rid string) string    { return uid + "." + rid + ".random.store" }
func MetadataNameV1(uid, rid string) string { return uid + "." + rid + ".random.metadata" }

const logMember = "decrypt_log"

// members returns everything but the checksum.
func (m *MetadataV1) members() map[string]any {
	all := map[string]any{
		"uid": m.UID, "rid": m.RID, "store_filename": m.StoreFilename, "metadata_filename": m.MetadataFilename,
		"n_bytes": m.NBytes, "rservice": m.RService, "split_index": m.SplitIndex, "direction": int64(m.Direction),
		"encrypt_index": m.EncryptIndex, logMember: m.DecryptLog, "decrypt_max": m.DecryptMax,
	}
	for name, v := range m.Extra {
		all[name] = v
	}
	all["n_eles"] = int64(len(all) + 2)
	return all
}

func checksum(members map[string]any) int64 {
	hashes := make([]uint64, 0, len(members))
	for name, v := range members {
		h := uint64(0)
		switch v := v.(type) {
		case string:
			h = hashString(v)
		case int64:
			h = hashInt(v)
		}
		hashes = append(hashes, hashPair(hashString(name), h))
	}
	return hashSet(hashes)
}

// Marshal returns the file's text, with its checksum.
func (m *MetadataV1) Marshal() []byte {
	all := m.members()
	all["checksum"] = checksum(all)
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	out := []byte{'{'}
	for i, name := range names {
		if i > 0 {
			out = append(out, ", "...)
		}
		out = append(appendString(out, name), ": "...)
		switch v := all[name].(type) {
		case string:
			out = appendString(out, v)
		case int64:
			out = strconv.AppendInt(out, v, 10)
		}
	}
	return append(out, '}')
}

// appendString writes a string as Python does: all but ASCII escaped.
func appendString(out []byte, s string) []byte {
	b, _ := json.Marshal(s) // of a string: no error
	for _, r := range string(b) {
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out
}

// ParseMetadataV1 reads a metadata file, and accepts what the original's reader accepts.
// Members that the reader does not ask for may be absent: the log is empty then, and the
// others as in a fresh pad. The error is [parley.ErrMalformed].
func ParseMetadataV1(b []byte) (*MetadataV1, error) {
	if len(b) > MaxMetadataV1 {
		return nil, badMetadata("it has %d bytes", len(b))
	}
	o, err := jsonobject.Parse(b)
	if err != nil {
		return nil, badMetadata("%v", err)
	}
	all := make(map[string]any, len(o))
	for name, raw := range o {
		if len(raw) > 0 && raw[0] == '"' {
			all[name], err = o.String(name)
		} else {
			all[name], err = o.Int(name)
		}
		if err != nil {
			return nil, badMetadata("%v", err)
		}
	}
	sum, ok := all["checksum"].(int64)
	delete(all, "checksum")
	if !ok || sum != checksum(all) {
		return nil, badMetadata("its checksum does not fit: it was changed by accident, or by a Python of another kind")
	}
	if n, ok := all["n_eles"].(int64); !ok || n != int64(len(o)) {
		return nil, badMetadata("n_eles is not the number of its members")
	}
	delete(all, "n_eles")
	return metadataOf(all)
}

func metadataOf(all map[string]any) (*MetadataV1, error) {
	m := &MetadataV1{}
	var direction int64
	texts := map[string]*string{"uid": &m.UID, "rid": &m.RID, "rservice": &m.RService}
	numbers := map[string]*int64{"n_bytes": &m.NBytes, "split_index": &m.SplitIndex, "direction": &direction, "encrypt_index": &m.EncryptIndex}
	for name, to := range texts {
		s, ok := all[name].(string)
		if !ok {
			return nil, badMetadata("%s is not a text", name)
		}
		*to = s
		delete(all, name)
	}
	for name, to := range numbers {
		n, ok := all[name].(int64)
		if !ok {
			return nil, badMetadata("%s is not a number", name)
		}
		*to = n
		delete(all, name)
	}
	m.Direction = int(direction)
	switch {
	case m.UID == m.RID:
		return nil, badMetadata("it is a pad with oneself")
	case m.SplitIndex < 0 || m.SplitIndex >= m.NBytes:
		return nil, badMetadata("split_index is not in the pad")
	case direction != 1 && direction != -1:
		return nil, badMetadata("direction is neither 1 nor -1")
	case m.RService != "random" && m.RService != "urandom":
		return nil, badMetadata("rservice is neither random nor urandom")
	case m.EncryptIndex < 0 || m.EncryptIndex >= m.NBytes:
		return nil, badMetadata("encrypt_index is not in the pad")
	}
	fresh := NewMetadataV1(m.UID, m.RID, m.NBytes, m.RService, direction == 1)
	m.StoreFilename, m.MetadataFilename, m.DecryptMax = fresh.StoreFilename, fresh.MetadataFilename, fresh.DecryptMax
	for name, to := range map[string]any{"store_filename": &m.StoreFilename, "metadata_filename": &m.MetadataFilename, logMember: &m.DecryptLog, "decrypt_max": &m.DecryptMax} {
		v, there := all[name]
		if !there {
			continue
		}
		delete(all, name)
		ok := false
		switch to := to.(type) {
		case *string:
			*to, ok = v.(string)
		case *int64:
			*to, ok = v.(int64)
		}
		if !ok {
			return nil, badMetadata("%s is of the wrong kind", name)
		}
	}
	if len(all) > 0 {
		m.Extra = all
	}
	return m, nil
}

// A SegmentV1 is one entry of the log: the positions from Start to before End in the
// direction of travel, which goes down when End is the smaller one.
type SegmentV1 struct{ Start, End int64 }

// Segments returns the entries of the log. The error is [parley.ErrMalformed].
func (m *MetadataV1) Segments() ([]SegmentV1, error) {
	if m.DecryptLog == "" {
		return nil, nil
	}
	all := make([]SegmentV1, 0, strings.Count(m.DecryptLog, ","))
	for entry := range strings.SplitSeq(strings.TrimSuffix(m.DecryptLog, ","), ",") {
		a, b, ok := strings.Cut(entry, "-")
		start, err := strconv.ParseInt(a, 10, 64)
		end, err2 := strconv.ParseInt(b, 10, 64)
		if !ok || err != nil || err2 != nil || start < 0 {
			return nil, badMetadata("an entry of its log is not start-end")
		}
		all = append(all, SegmentV1{start, end})
	}
	return all, nil
}

func badMetadata(format string, args ...any) error {
	return fmt.Errorf("%w: the metadata of the pad: %s", parley.ErrMalformed, fmt.Sprintf(format, args...))
}
