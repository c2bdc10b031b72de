// Package jsonobject takes JSON objects apart more strictly than encoding/json
// does: a member that comes twice, or anything behind the object, is an error, and
// names must match in case. Two readers of one signed text can then not see two
// different things in it.
package jsonobject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ErrSyntax means that a text is not exactly one JSON object.
var ErrSyntax = errors.New("not a JSON object")

// An Object is the members of an object by their names. The values are the bytes
// as they stand in the text.
type Object map[string]json.RawMessage

// Parse takes an object apart. The error is [ErrSyntax] with what is wrong, and
// repeats nothing of the text but a member's name.
func Parse(b []byte) (Object, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, ErrSyntax
	}
	o := Object{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, ErrSyntax
		}
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("%w: member %q comes twice", ErrSyntax, name)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, ErrSyntax
		}
		o[name] = v
	}
	if _, err := d.Token(); err != nil {
		return nil, ErrSyntax
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows it", ErrSyntax)
	}
	return o, nil
}

// String returns a member that must be there and be a string. Bytes in it that are
// not UTF-8 become U+FFFD.
func (o Object) String(name string) (string, error) {
	v, ok := o[name]
	if !ok {
		return "", fmt.Errorf("%w: no member %q", ErrSyntax, name)
	}
	var s *string
	if err := json.Unmarshal(v, &s); err != nil || s == nil {
		return "", fmt.Errorf("%w: member %q is not a string", ErrSyntax, name)
	}
	return *s, nil
}

// Int returns a member that must be there and be a whole number of 64 bits.
func (o Object) Int(name string) (int64, error) {
	v, ok := o[name]
	if !ok {
		return 0, fmt.Errorf("%w: no member %q", ErrSyntax, name)
	}
	var n *int64
	if err := json.Unmarshal(v, &n); err != nil || n == nil {
		return 0, fmt.Errorf("%w: member %q is not a whole number", ErrSyntax, name)
	}
	return *n, nil
}
