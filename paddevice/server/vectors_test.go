package server

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"parley/secure/otp"
)

type step struct {
	Device  string          `json:"on_device"`
	Op      string          `json:"op"`
	Src     string          `json:"src_uid"`
	Dst     string          `json:"dst_uid"`
	Message string          `json:"message"`
	Packet  string          `json:"package_b64"`
	After   string          `json:"metadata_text_after"`
	Reply   json.RawMessage `json:"reply"`
	Prompts []string        `json:"prompts"`
	Note    string          `json:"note"`
}

type vectorFile struct {
	Scenarios []struct {
		Name    string            `json:"name"`
		Initial map[string]string `json:"metadata_text_initial"`
		Pad     []byte            `json:"pad_b64"`
		Steps   []step            `json:"steps"`
	} `json:"device_layer"`
	RPC []struct {
		JSON   json.RawMessage   `json:"json"`
		Form   map[string]string `json:"form"`
		Note   string            `json:"note"`
		Reply  json.RawMessage   `json:"reply_json"`
		Status int               `json:"status"`
	} `json:"device_rpc"`
	NextRef  string                     `json:"nextref_json_text"`
	Refusals map[string]json.RawMessage `json:"refusals"`
}

func vectors(t testing.TB) (v vectorFile) {
	t.Helper()
	b, err := os.ReadFile("../../secure/otp/testdata/vectors.json")
	check(t, err)
	check(t, json.Unmarshal(b, &v))
	return v
}

func (w *world) step(s step) string {
	if s.Op == "package" {
		return w.call(s.Op, s.Src, s.Dst, s.Message)
	}
	return w.call(s.Op, s.Src, s.Dst, s.Packet)
}

// Each scenario over HTTP, with the device stopped and started again after every step:
// the metadata is then what the original's is, and another program may go on with it.
func TestVectorsDevice(t *testing.T) {
	for _, sc := range vectors(t).Scenarios {
		t.Run(sc.Name, func(t *testing.T) {
			w := newWorld(t)
			for self, meta := range sc.Initial {
				peer := map[string]string{"alice": "bob", "bob": "alice"}[self]
				w.file(otp.StoreNameV1(self, peer), sc.Pad)
				w.file(otp.MetadataNameV1(self, peer), []byte(meta))
			}
			forged := false
			for i, s := range sc.Steps {
				w.start(Options{AllowAll: true})
				got, want := object(t, w.step(s)), object(t, string(s.Reply))
				if forged && strings.Contains(s.Note, "no skip flag") {
					want = strings.Replace(want, `"skip_detected":false`, `"skip_detected":true`, 1) // the original's defect 3
				}
				if got != want {
					t.Fatalf("step %d: %s, want %s", i, got, want)
				}
				forged = forged || s.Note == "forgery"
				w.stop()
				meta := w.read(otp.MetadataNameV1(s.Device, map[string]string{"alice": "bob", "bob": "alice"}[s.Device]))
				if !forged && object(t, meta) != object(t, s.After) {
					t.Fatalf("step %d: metadata %s, want %s", i, meta, s.After)
				}
				if forged && strings.Contains(meta, "800-") {
					t.Fatalf("step %d: a forgery is in the metadata: %s", i, meta)
				}
			}
		})
	}
}

// State that forged packages have poisoned in the original is taken as it is.
func TestVectorsPoisonedState(t *testing.T) {
	v := vectors(t)
	sc := v.Scenarios[len(v.Scenarios)-1]
	if sc.Name != "poison" {
		t.Skip("no such scenario")
	}
	w := newWorld(t)
	last := sc.Steps[len(sc.Steps)-1]
	w.file(otp.StoreNameV1("bob", "alice"), sc.Pad)
	w.file(otp.MetadataNameV1("bob", "alice"), []byte(sc.Steps[len(sc.Steps)-2].After))
	w.start(Options{AllowAll: true})
	if got := object(t, w.step(last)); got != object(t, string(last.Reply)) {
		t.Errorf("%s, want %s", got, last.Reply)
	}
	w.stop()
	if meta := w.read(otp.MetadataNameV1("bob", "alice")); object(t, meta) != object(t, last.After) {
		t.Errorf("metadata %s, want %s", meta, last.After)
	}
}

func TestVectorsRPC(t *testing.T) {
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 1000), true)
	w.start(Options{AllowAll: true})
	for i, v := range vectors(t).RPC {
		if v.JSON == nil {
			resp := w.form(v.Form)
			if resp != v.Status {
				t.Errorf("%d: status %d, want %d", i, resp, v.Status)
			}
			continue
		}
		code, text := w.post(string(v.JSON))
		if code != v.Status {
			t.Errorf("%d: status %d, want %d", i, code, v.Status)
		}
		if strings.Contains(v.Note, "varies") {
			var got struct {
				Return struct {
					Success bool
					Package []byte
				}
			}
			if err := json.Unmarshal([]byte(text), &got); err != nil || !got.Return.Success || len(got.Return.Package) != len("by keyword")+otp.OverheadV1 {
				t.Errorf("%d: %s, %v", i, text, err)
			}
			continue
		}
		if object(t, text) != object(t, string(v.Reply)) {
			t.Errorf("%d: %s, want %s", i, text, v.Reply)
		}
	}
	if got := w.call("save_next_ref", "alice", "http://localhost:9050", 7); object(t, got) != `{"return":null}` {
		t.Error(got)
	}
	if got := w.read(nextRefName); got != vectors(t).NextRef {
		t.Errorf("%q, want %q", got, vectors(t).NextRef)
	}
	if got := w.call("get_next_ref", "alice", "http://localhost:9050"); object(t, got) != `{"return":7}` {
		t.Error(got)
	}
}

func TestVectorsRefusals(t *testing.T) {
	v := vectors(t)
	for _, name := range []string{"denied_package", "denied_unpackage"} {
		t.Run(name, func(t *testing.T) {
			var s step
			check(t, json.Unmarshal(v.Refusals[name], &s))
			w := newWorld(t)
			w.v1("alice", "bob", randomBytes(1, 500), true)
			w.v1("bob", "alice", randomBytes(1, 500), false)
			w.start(Options{})
			done := make(chan string)
			go func() { done <- w.step(s) }()
			w.answer(false)
			if got := object(t, <-done); got != object(t, string(s.Reply)) {
				t.Errorf("%s, want %s", got, s.Reply)
			}
			w.stop()
			peer := map[string]string{"alice": "bob", "bob": "alice"}[s.Device]
			if meta := w.read(otp.MetadataNameV1(s.Device, peer)); object(t, meta) != object(t, s.After) {
				t.Errorf("metadata %s, want %s", meta, s.After)
			}
		})
	}
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 500), true)
	w.start(Options{}) // nobody answers: these are refused before anybody is asked
	for _, c := range []struct {
		method, src, dst, arg, want string
	}{
		{"package", "alice", "alice", "x", "to_self"},
		{"unpackage", "alice", "alice", "AAAA", "to_self"},
		{"package", "alice", "zed", "x", "unknown_peer"},
		{"package", "alice", "../alice.bob", "x", "unknown_peer"},
		{"unpackage", "zed", "alice", b64(make([]byte, 60)), "unknown_peer"},
	} {
		if got := object(t, w.call(c.method, c.src, c.dst, c.arg)); got != object(t, string(v.Refusals[c.want])) {
			t.Errorf("%s %s→%s: %s, want %s", c.method, c.src, c.dst, got, v.Refusals[c.want])
		}
	}
	if got := object(t, w.call("package", "alice", "bob", strings.Repeat("x", 101))); got != `{"return":{"error":"Pad depleted.","success":false}}` {
		t.Error(got)
	}
	for _, short := range []string{"", "AAAA", b64(make([]byte, 37))} {
		if got := object(t, w.call("unpackage", "bob", "alice", short)); got != `{"return":{"error":"Decryption failed.","success":false}}` {
			t.Errorf("%q: %s", short, got)
		}
	}
}
