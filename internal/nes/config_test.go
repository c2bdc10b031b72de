package nes

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	for _, c := range []struct {
		in   string
		want map[string]string // nil: an error
	}{
		{"", map[string]string{}},
		{"\n  # only a comment\n\r\n", map[string]string{}},
		{"A=b", map[string]string{"A": "b"}},
		{"\xef\xbb\xbfA = b\r\nC =  d e  # f\n", map[string]string{"A": "b", "C": "d e"}},
		{"export A=b#c", map[string]string{"A": "b#c"}},
		{"A=", map[string]string{"A": ""}},
		{"A = # nothing", map[string]string{"A": ""}},
		{`A="b # \"c\" \\" # d`, map[string]string{"A": `b # "c" \`}},
		{`A='b "\ $c'`, map[string]string{"A": `b "\ $c`}},
		{"A=tcp://u:p=q@h:1", map[string]string{"A": "tcp://u:p=q@h:1"}},
		{"A=b\nA=c", nil},
		{"A", nil},
		{"=b", nil},
		{"1A=b", nil},
		{"A B=c", nil},
		{`A="b`, nil},
		{`A="b" c`, nil},
		{`A="\n"`, nil},
		{`A="\`, nil},
		{"A='b", nil},
		{"A=\x1b[31m", nil},
		{"A=\x00", nil},
		{"A=\xff", nil},
		{"A=" + strings.Repeat("x", maxConfigLine), nil},
		{strings.Repeat("#\n", maxConfig), nil},
	} {
		got, err := ParseConfig([]byte(c.in))
		switch {
		case c.want == nil && !errors.Is(err, ErrConfig):
			t.Errorf("%.40q: %v, %v", c.in, got, err)
		case c.want != nil && (err != nil || !maps.Equal(got, c.want)):
			t.Errorf("%.40q: %v, %v", c.in, got, err)
		}
	}
	if _, err := ParseConfig([]byte("A=b\nPASSWORD \"secret")); strings.Contains(err.Error(), "secret") {
		t.Error("the error repeats what may be a secret")
	}
}

func TestStoreConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "config")
	want := map[string]string{User: "alice", Broker: `tcp://u:a'b"c\ #d@h`, Address: " spaces "}
	for range 2 {
		if err := StoreConfig(path, want); err != nil {
			t.Fatal(err)
		}
		got, err := ReadConfig(path)
		if err != nil || !maps.Equal(got, want) {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if err := StoreConfig(path, map[string]string{User: "a\nb"}); err == nil {
		t.Error("two lines were stored")
	}
	if got, err := ReadConfig(path); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if err := StoreConfig(t.TempDir(), want); err == nil {
		t.Error("stored into a folder")
	}
	os.WriteFile(path, []byte("broken"), 0o600)
	if err := StoreConfig(path, want); !errors.Is(err, ErrConfig) {
		t.Errorf("%v", err)
	}
	if _, err := ReadConfig(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// FuzzConfig: no text breaks the parser, and what was read is read again after it was
// stored.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("MQTT_BROKER_ADDRESS = tcp://u:p@h # c\nNES_USERNAME=\"x\\\"\"\n"))
	f.Add([]byte("\xef\xbb\xbfexport A='b'\r\n"))
	f.Add([]byte("export=1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ParseConfig(b)
		if err != nil {
			return
		}
		for key, value := range v {
			again, err := ParseConfig([]byte(key + " = " + formatValue(value)))
			if len(value) < maxConfigLine/2-100 && len(key) < 100 && (err != nil || again[key] != value) {
				t.Errorf("%q became %q (%v)", value, again[key], err)
			}
		}
	})
}
