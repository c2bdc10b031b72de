package nes

import (
	"errors"
	"fmt"
)

// A Code is what the program ends with. A number never changes its meaning.
type Code int

// The exit codes.
const (
	OK        Code = iota
	Other          // something else went wrong
	Usage          // the command line or the text to send is wrong
	Files          // the config file or a value in it, a key file or the state file
	Network        // the broker cannot be reached or refuses
	Provider       // the provider cannot be reached, refuses, or lies
	Untrusted      // a key has changed, or may not be trusted
)

// Codes are all of them with their meanings, as docs/nes.md has them.
var Codes = []struct {
	Code    Code
	Meaning string
}{
	{OK, "done"},
	{Other, "something else went wrong; the text says what"},
	{Usage, "the command line or the text to send is wrong"},
	{Files, "the config file, a key file or the state file is missing, damaged or in the way, a value in the config file is wrong, or others may read the state file"},
	{Network, "the broker cannot be reached or refuses; a message that was to be sent waits in the outbox"},
	{Provider, "the provider cannot be reached, does not know the user, refuses, or contradicts itself"},
	{Untrusted, "a key has changed or may not be trusted: compare fingerprints"},
}

// An Error is an error with an exit code. Its text may have words of others in it.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes one.
func Errorf(code Code, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// CodeOf returns the exit code of an error.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	}
	return Other
}

// Prefix puts the original's words for what could not be done before an error.
func Prefix(words string, err error) error {
	return &Error{CodeOf(err), fmt.Errorf("%s: %w", words, err)}
}
