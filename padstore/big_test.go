package padstore

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"parley/internal/keyfile"
	"parley/secure/otp"
)

// TestBeyond2GiB uses pad around and beyond the offsets that 32 bits can hold, on a
// sparse file of 9 GiB. Where int has 32 bits, none of them may end up in one.
func TestBeyond2GiB(t *testing.T) {
	const gib = int64(1) << 30
	const size, split = 9 * gib, 4*gib + gib/2
	eachVersion(t, func(t *testing.T, v otp.Version) {
		for _, at := range []int64{2*gib - 70, 3 * gib, 4*gib - 70, 4*gib + 4096} {
			for lane := range 2 {
				t.Run(fmt.Sprintf("%d of lane %d", at, lane), func(t *testing.T) {
					dir := t.TempDir()
					var pads [2]*Pad
					piece := randomBytes(uint64(at), 4096) // the only pad that isn't a hole
					position := at
					if lane == 1 {
						position = size - at - int64(len(piece))
					}
					for end, name := range []string{"alice", "bob"} {
						peer := []string{"bob", "alice"}[end]
						path := fmt.Sprintf("%s/%s.%s%s", dir, name, peer, padSuffix)
						base := int64(otp.PadHeaderSize)
						l := newLedger(v, size, split, uint8(end))
						if end == lane {
							l.room[0].pos, l.top = at, at
						} else {
							l.theirTop = at
						}
						if v == otp.V1 {
							base = 0
							m := otp.NewMetadataV1(name, peer, size, "random", end == 0)
							m.EncryptIndex, m.DecryptMax = l.top, l.theirTop
							if end == 1 {
								m.EncryptIndex = size - 1 - m.EncryptIndex
							} else {
								m.DecryptMax = size - 1 - m.DecryptMax
							}
							path = dir + "/" + otp.MetadataNameV1(name, peer)
							check(t, os.WriteFile(path, m.Marshal(), 0o600))
							makeSparse(t, dir+"/"+otp.StoreNameV1(name, peer), nil, base, size, position, piece)
							check(t, keyfile.Create(dir+"/"+name+"."+peer+journalSuffix, journalFile(newJournalName(), l.snapshot(m.Marshal()))))
						} else {
							h := header(size, split, end)
							head, err := h.Marshal()
							check(t, err)
							makeSparse(t, path, head, base, size, position, piece)
							label := fmt.Appendf(nil, "pad %x lane %d", h.ID, end)
							check(t, keyfile.Create(path+".journal", journalFile(newJournalName(), l.snapshot(label))))
						}
						p, err := Open(path, Options{Marks: dir + "/marks", NoSync: true})
						check(t, err)
						defer p.Close()
						check(t, p.Skip(0))
						pads[end] = p
					}
					from, to := pads[lane], pads[1-lane]
					for i := range 3 {
						text := fmt.Sprint("far away ", i)
						packet := pack(t, from, i, text)
						where := used(t, v, size, packet, lane)
						if where.start < position || where.end > position+int64(len(piece)) {
							t.Fatalf("used %v", where)
						}
						if o := unpack(t, to, packet, text); o.Skipped && v == otp.V1 {
							t.Error("skipped")
						}
						finished(t, to, packet)
						finished(t, from, packet)
						raw := make([]byte, where.len())
						_, err := to.pad.ReadAt(raw, to.base+where.start)
						check(t, err)
						if !allZero(raw) || bytes.Equal(raw, piece[:len(raw)]) {
							t.Error("not burned")
						}
					}
					for _, p := range pads {
						pic, err := p.Layout()
						check(t, err)
						if last := pic.Ranges[len(pic.Ranges)-1]; last.End != size {
							t.Errorf("%v", pic.Ranges)
						}
						s, err := p.Status(ctx, p.Peer())
						check(t, err)
						if s.Size != size || s.Left < 0 || s.Theirs < 0 || s.Left+s.Theirs > size {
							t.Errorf("%+v", s)
						}
					}
				})
			}
		}
	})
}

func makeSparse(t *testing.T, path string, head []byte, base, size, at int64, piece []byte) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	check(t, err)
	defer f.Close()
	if err := f.Truncate(base + size); err != nil {
		t.Skipf("no sparse files of %d bytes here: %v", size, err)
	}
	_, err = f.WriteAt(head, 0)
	check(t, err)
	_, err = f.WriteAt(piece, base+at)
	check(t, err)
}
