package padstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"parley"
	"parley/secure/otp"
)

type vectorStep struct {
	Device  string  `json:"on_device"`
	Op      string  `json:"op"`
	Src     string  `json:"src_uid"`
	Dst     string  `json:"dst_uid"`
	Message *string `json:"message"`
	Packet  []byte  `json:"package_b64"`
	After   string  `json:"metadata_text_after"`
	Reset   bool    `json:"receiver_reset_before"`
	Reply   struct {
		Return struct {
			Success bool    `json:"success"`
			Package []byte  `json:"package"`
			Message *string `json:"message"`
			Reuse   bool    `json:"reuse_detected"`
			Skip    bool    `json:"skip_detected"`
		} `json:"return"`
	} `json:"reply"`
}

type vectorFile struct {
	Scenarios []struct {
		Name    string            `json:"name"`
		Initial map[string]string `json:"metadata_text_initial"`
		Pad     []byte            `json:"pad_b64"`
		Steps   []vectorStep      `json:"steps"`
	} `json:"device_layer"`
	Largest []struct {
		Direction int    `json:"direction"`
		NBytes    int64  `json:"n_bytes"`
		Largest   *int64 `json:"largest_message"`
	} `json:"largest_message_fresh_pad"`
}

func vectors(t testing.TB) (v vectorFile) {
	t.Helper()
	b, err := os.ReadFile("../secure/otp/testdata/vectors.json")
	check(t, err)
	check(t, json.Unmarshal(b, &v))
	return v
}

// object returns JSON in one form.
func object(t testing.TB, text []byte) string {
	t.Helper()
	var all map[string]json.RawMessage
	check(t, json.Unmarshal(text, &all))
	b, err := json.Marshal(all)
	check(t, err)
	return string(b)
}

// A device is one person's folder, which ours and the original's rules work on in turn.
type device struct {
	t     testing.TB
	path  string
	marks string
	ours  *Pad
}

func (d *device) pad() *Pad {
	if d.ours == nil {
		var err error
		d.ours, err = Open(d.path, Options{Marks: d.marks, NoSync: true})
		check(d.t, err)
	}
	return d.ours
}

func (d *device) settle() {
	if d.ours != nil {
		check(d.t, d.ours.Close())
		d.ours = nil
	}
}

func (d *device) metadata() string {
	text, err := os.ReadFile(d.path)
	check(d.t, err)
	return object(d.t, text)
}

// TestVectorDevices replays what the original's devices did, by ours, by its rules, and by
// both in turn on the same files.
func TestVectorDevices(t *testing.T) {
	for _, v := range vectors(t).Scenarios {
		for _, mode := range []string{"ours", "its rules", "in turn", "in turn, the other way"} {
			t.Run(v.Name+"/"+mode, func(t *testing.T) {
				devices := map[string]*device{}
				fresh := func(name string) {
					other := map[string]string{"alice": "bob", "bob": "alice"}[name]
					dir := t.TempDir()
					path := filepath.Join(dir, otp.MetadataNameV1(name, other))
					check(t, os.WriteFile(path, []byte(v.Initial[name]), 0o600))
					check(t, os.WriteFile(filepath.Join(dir, otp.StoreNameV1(name, other)), v.Pad, 0o600))
					devices[name] = &device{t: t, path: path, marks: t.TempDir()}
				}
				fresh("alice")
				fresh("bob")
				poisoned := map[string]bool{} // the original's file has what ours never writes
				for i, s := range v.Steps {
					if s.Reset {
						fresh(s.Device)
						delete(poisoned, s.Device)
					}
					d := devices[s.Device]
					forged := !s.Reply.Return.Success
					ours := mode == "ours" || mode == "in turn" && i%2 == 0 || mode == "in turn, the other way" && i%2 == 1
					if forged && mode != "ours" {
						ours = false // only the original leaves that in its files
					}
					if ours && s.Op == "package" {
						packet, err := d.pad().Package(ctx, id(i), parley.Name(s.Dst), []byte(*s.Message))
						if forged {
							is(t, err, parley.ErrRefused)
						} else if err != nil || !bytes.Equal(packet, s.Reply.Return.Package) {
							t.Fatalf("step %d: packaged as %x, %v", i, packet, err)
						}
					} else if ours {
						was := d.metadata()
						o, err := d.pad().Unpackage(ctx, d.pad().Peer(), s.Packet)
						switch want := s.Reply.Return; {
						case forged:
							if err == nil {
								t.Fatalf("step %d: opened a forged package", i)
							}
							d.settle()
							if now := d.metadata(); now != was {
								t.Fatalf("step %d: a forged package has changed %s to %s", i, was, now)
							}
							poisoned[s.Device] = true
							continue
						case want.Reuse:
							is(t, err, parley.ErrSeen)
						case err != nil || string(o.Message) != *want.Message:
							t.Fatalf("step %d: unpackaged as %+v, %v", i, o, err)
						case o.Skipped != want.Skip && !poisoned[s.Device]:
							t.Fatalf("step %d: skipped %v, want %v", i, o.Skipped, want.Skip)
						case poisoned[s.Device] && v.Name == "poison" && !o.Skipped:
							t.Fatalf("step %d: a forged package hides a skip", i)
						}
					} else {
						d.settle()
						replayOriginal(t, original{t, d.path}, i, s)
					}
					d.settle()
					if !poisoned[s.Device] && !(ours && s.Reply.Return.Reuse) {
						if got, want := d.metadata(), object(t, []byte(s.After)); got != want {
							t.Fatalf("step %d: the metadata is %s, want %s", i, got, want)
						}
					}
				}
			})
		}
	}
}

func replayOriginal(t *testing.T, o original, i int, s vectorStep) {
	want := s.Reply.Return
	if s.Op == "package" {
		packet, err := o.pack([]byte(*s.Message))
		if (err == nil) != want.Success || !bytes.Equal(packet, want.Package) {
			t.Fatalf("step %d: the rules package as %x, %v", i, packet, err)
		}
		return
	}
	msg, skip, reuse, err := o.unpack(s.Packet)
	if (err == nil) != want.Success || err == nil && (string(msg) != *want.Message || skip != want.Skip || reuse != want.Reuse) {
		t.Fatalf("step %d: the rules unpackage as %q, %v, %v, %v", i, msg, skip, reuse, err)
	}
}

func TestVectorLargest(t *testing.T) {
	for _, v := range vectors(t).Largest {
		t.Run(fmt.Sprintf("%d bytes, direction %d", v.NBytes, v.Direction), func(t *testing.T) {
			pad := randomBytes(1, v.NBytes)
			lane := (1 - v.Direction) / 2
			names, files := padFiles(t, otp.V1, pad, 0, lane)
			try := func(m int64) error {
				dir := t.TempDir()
				for i := range names {
					check(t, os.WriteFile(filepath.Join(dir, names[i]), files[i], 0o600))
				}
				p, err := Open(filepath.Join(dir, names[0]), Options{Marks: filepath.Join(dir, "marks"), NoSync: true})
				check(t, err)
				defer p.Close()
				s, err := p.Status(ctx, p.Peer())
				check(t, err)
				if want := v.Largest; want != nil && s.Largest != *want || want == nil && s.Left >= p.Need(0) {
					t.Errorf("status says %d, %d left", s.Largest, s.Left)
				}
				_, err = p.Package(ctx, id(1), p.Peer(), make([]byte, m))
				return err
			}
			more := int64(0)
			if v.Largest != nil {
				check(t, try(*v.Largest))
				more = *v.Largest + 1
			}
			is(t, try(more), parley.ErrRefused, otp.ErrDepleted)
		})
	}
}
