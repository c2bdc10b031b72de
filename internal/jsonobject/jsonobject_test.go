package jsonobject_test

import (
	"encoding/json"
	"errors"
	"testing"

	"parley/internal/jsonobject"
)

func TestParse(t *testing.T) {
	o, err := jsonobject.Parse([]byte(` { "s" : "a\u00e9" , "n":-9223372036854775808, "o": { "x": 1 , "x": 2 } } `))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := o.String("s"); s != "aé" || err != nil {
		t.Error(s, err)
	}
	if n, err := o.Int("n"); n != -1<<63 || err != nil {
		t.Error(n, err)
	}
	if string(o["o"]) != `{ "x": 1 , "x": 2 }` {
		t.Errorf("the bytes have changed: %s", o["o"])
	}
	for name, err := range map[string]error{
		"no such string": second(o.String("z")), "a number as string": second(o.String("n")),
		"no such number": second(o.Int("z")), "a string as number": second(o.Int("s")),
	} {
		if !errors.Is(err, jsonobject.ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestRefused(t *testing.T) {
	for _, s := range []string{
		"", " ", "null", "[]", `"x"`, "1", "{", `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `{"a":1}x`, `{"a":1}{}`, `{"a":1} null`,
		`{"a":1,"a":1}`, `{"a":1,"\u0061":2}`, `{"a":nul}`, `<html>`,
	} {
		if o, err := jsonobject.Parse([]byte(s)); !errors.Is(err, jsonobject.ErrSyntax) {
			t.Errorf("%q: %v, %v", s, o, err)
		}
	}
	o, err := jsonobject.Parse([]byte(`{"s":null,"f":1.5,"e":1e3,"big":9223372036854775808}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s", "f", "e", "big"} {
		if n, err := o.Int(name); err == nil {
			t.Errorf("%s: %d", name, n)
		}
	}
	if s, err := o.String("s"); err == nil {
		t.Errorf("null is %q", s)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":{"b":[1,2]},"c":"d"}`, `{"a":1,"a":2}`, "{\"\xff\":\"\xfe\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := jsonobject.Parse(b)
		if err != nil {
			return
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(b, &m); err != nil || len(m) != len(o) {
			t.Fatalf("%q: %d members, encoding/json: %d, %v", b, len(o), len(m), err)
		}
		for k, v := range o {
			if string(m[k]) != string(v) {
				t.Fatalf("%q: %q is %q and %q", b, k, v, m[k])
			}
		}
	})
}
