package padstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"parley/secure/otp"
)

// An original follows the rules of One Time Chat's device on the files of a pad, with its
// defects: it reads and rewrites the whole metadata file, and a rejected package changes
// the log. Only the tests use it.
type original struct {
	t    testing.TB
	path string // of the metadata file
}

var errOriginal = errors.New("the original says no")

func (o original) load() (*otp.MetadataV1, []byte) {
	o.t.Helper()
	text, err := os.ReadFile(o.path)
	check(o.t, err)
	m, err := otp.ParseMetadataV1(text)
	check(o.t, err)
	pad, err := os.ReadFile(filepath.Join(filepath.Dir(o.path), m.StoreFilename))
	check(o.t, err)
	return m, pad
}

func (o original) save(m *otp.MetadataV1) {
	o.t.Helper()
	check(o.t, os.WriteFile(o.path, m.Marshal(), 0o600))
}

// segment takes n bytes from a position on in a direction.
func segment(m *otp.MetadataV1, pad []byte, at int64, n, direction int) (b []byte, end int64, ok bool) {
	end = at + int64(direction*n)
	if end < 0 || end >= m.NBytes || direction == 1 && end >= m.SplitIndex || direction == -1 && end < m.SplitIndex {
		return nil, 0, false
	}
	for ; at != end; at += int64(direction) {
		b = append(b, pad[at])
	}
	return b, end, true
}

func xor(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] ^ b[i]
	}
	return out
}

func (o original) pack(msg []byte) ([]byte, error) {
	m, pad := o.load()
	defer func() { o.save(m) }()
	var parts [3][]byte
	index := m.EncryptIndex
	for i, n := range []int{len(msg), len(msg) + 32, 16} {
		b, end, ok := segment(m, pad, m.EncryptIndex, n, m.Direction)
		if !ok {
			return nil, errOriginal
		}
		parts[i], m.EncryptIndex = b, end
	}
	packet := make([]byte, 6)
	for i := range packet {
		packet[i] = byte(index >> (8 * i))
	}
	ct := xor(msg, parts[0])
	mac := hmac.New(sha256.New, parts[2])
	mac.Write(append(packet[:6:6], ct...))
	return append(packet, xor(mac.Sum(ct), parts[1])...), nil
}

func (o original) unpack(packet []byte) (msg []byte, skip, reuse bool, err error) {
	m, pad := o.load()
	defer func() { o.save(m) }()
	if len(packet) < 38 {
		return nil, false, false, errOriginal
	}
	at := int64(0)
	for i := 5; i >= 0; i-- {
		at = at<<8 | int64(packet[i])
	}
	skip = m.Direction == 1 && at < m.DecryptMax || m.Direction == -1 && at > m.DecryptMax
	for entry := range strings.SplitSeq(strings.TrimSuffix(m.DecryptLog, ","), ",") {
		a, b, _ := strings.Cut(entry, "-")
		start, _ := strconv.ParseInt(a, 10, 64)
		end, _ := strconv.ParseInt(b, 10, 64)
		reuse = reuse || entry != "" && (start <= at && at < end || end < at && at <= start)
	}
	n := len(packet) - 38
	var parts [3][]byte
	for i, n := range []int{n, n + 32, 16} {
		b, end, ok := segment(m, pad, at, n, -m.Direction)
		if !ok {
			return nil, false, false, errOriginal
		}
		m.DecryptLog += strconv.FormatInt(at, 10) + "-" + strconv.FormatInt(end, 10) + ","
		if m.Direction == -1 {
			m.DecryptMax = max(m.DecryptMax, end)
		} else {
			m.DecryptMax = min(m.DecryptMax, end)
		}
		parts[i], at = b, end
	}
	body := xor(packet[6:], parts[1])
	mac := hmac.New(sha256.New, parts[2])
	mac.Write(append(packet[:6:6], body[:n]...))
	if !hmac.Equal(mac.Sum(nil), body[n:]) {
		return nil, skip, reuse, errOriginal
	}
	return xor(body[:n], parts[0]), skip, reuse, nil
}
