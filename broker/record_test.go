package broker

import (
	"bytes"
	"testing"

	"parley/broker/store"
)

func TestRecordIsSmallAndComesBack(t *testing.T) {
	for _, q := range []Queue{
		{RecipientKey: []byte{1}},
		{RecipientKey: bytes.Repeat([]byte{7}, 256), SenderKey: bytes.Repeat([]byte{8}, 256)},
		{RecipientKey: bytes.Repeat([]byte{7}, MaxKey), SenderKey: bytes.Repeat([]byte{8}, MaxKey), Suspended: true, MaxBody: 1 << 20},
	} {
		p := q.props()
		if len(q.RecipientKey) == 256 && len(p) > 600 {
			t.Errorf("a queue with two 2048-bit keys takes %d bytes", len(p))
		}
		got, err := parseQueue(store.Queue{Props: p})
		if err != nil || !bytes.Equal(got.RecipientKey, q.RecipientKey) || !bytes.Equal(got.SenderKey, q.SenderKey) || got.Suspended != q.Suspended || got.MaxBody != q.MaxBody {
			t.Errorf("%+v became %+v, %v", q, got, err)
		}
		for n := range len(p) {
			if _, err := parseQueue(store.Queue{Props: p[:n]}); err == nil {
				t.Fatalf("a record cut to %d of %d bytes was taken", n, len(p))
			}
		}
		if _, err := parseQueue(store.Queue{Props: append(p, 0)}); err == nil {
			t.Error("a record with a byte too many was taken")
		}
	}
	for _, p := range [][]byte{
		{2, 0, 0, 0, 0, 1, 0, 1, 9, 0, 0}, // another version
		{1, 2, 0, 0, 0, 1, 0, 1, 9, 0, 0}, // an unknown flag
		{1, 0, 0, 0, 0, 1, 0, 0, 0, 0},    // no recipient key
	} {
		if _, err := parseQueue(store.Queue{Props: p}); err == nil {
			t.Errorf("record %v was taken", p)
		}
	}
}

func FuzzParseQueue(f *testing.F) {
	q := Queue{RecipientKey: []byte("RK"), SenderKey: []byte("SK"), Suspended: true}
	f.Add(q.props())
	f.Fuzz(func(t *testing.T, p []byte) {
		if q, err := parseQueue(store.Queue{Props: p}); err == nil && !bytes.Equal(q.props(), p) {
			t.Errorf("%x became %x", p, q.props())
		}
	})
}
