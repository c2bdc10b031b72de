package server

import (
	"encoding/json"
	"net/url"
	"os"
	"reflect"
	"testing"
)

// What the original's relay was recorded to answer, in the order in which it did; what
// was left out between is put in.
func TestVectors(t *testing.T) {
	var steps []struct {
		Method, Path string
		Form         map[string]string
		Reply        any             `json:"reply"`
		ReplyJSON    json.RawMessage `json:"reply_json"`
		Status       int
	}
	b, err := os.ReadFile("testdata/relay.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &steps); err != nil || len(steps) == 0 {
		t.Fatal(err)
	}
	w := newWorld(t, Options{Mischief: true})
	for i, step := range steps {
		switch i {
		case 2: // before the message with number 4
			w.send("bob", "alice", "QUJD+/E1=QUJD+/E1=")
			w.send("alice", "bob", "QUJD+/E2=QUJD+/E2=")
		case 3:
			w.send("alice", "bob", "short")
		case 9: // after the drop
			w.send("alice", "bob", "afterdrop+")
		}
		var code int
		var got []byte
		if step.Method == "POST" {
			v := url.Values{}
			for k, s := range step.Form {
				v.Set(k, s)
			}
			code, got = w.form(step.Path, v)
		} else {
			code, got = w.get(step.Path, "")
		}
		if code != step.Status {
			t.Errorf("step %d, %s: status %d, want %d", i, step.Path, code, step.Status)
		}
		var have, want any
		isJSON := json.Unmarshal(got, &have) == nil
		if step.ReplyJSON == nil {
			if isJSON {
				t.Errorf("step %d, %s: %s, want no JSON", i, step.Path, got)
			}
			continue
		}
		if err := json.Unmarshal(step.ReplyJSON, &want); err != nil {
			t.Fatal(err)
		}
		if !isJSON || !reflect.DeepEqual(have, want) {
			t.Errorf("step %d, %s:\n got %s\nwant %s", i, step.Path, got, step.ReplyJSON)
		}
	}
}
