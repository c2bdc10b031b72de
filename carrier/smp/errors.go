package smp

import (
	"errors"
	"fmt"
)

// A Code is the type of an ERR response (seeds/smp-2020-10, Error responses).
type Code uint8

// The codes of the text, and CodeQuota, our one addition: the queue is full.
const (
	CodeUnknown        Code = iota + 1 // unknown command name
	CodeProhibited                     // a response sent by a client; ACK with nothing delivered
	CodeBadParameters                  // SYNTAX 2: number or format of parameters
	CodeNoCredentials                  // SYNTAX 3: connection ID or signature required but absent
	CodeHasCredentials                 // SYNTAX 4: not allowed but present
	CodeNoConnID                       // SYNTAX 5: SEND without connection ID
	CodeBadBody                        // SYNTAX 6: the body is neither a number nor starts with ':'
	CodeSize                           // incorrect body size
	CodeAuth
	CodeInternal
	CodeQuota
)

var codes = [...]string{CodeUnknown: "UNKNOWN", CodeProhibited: "PROHIBITED", CodeBadParameters: "SYNTAX 2",
	CodeNoCredentials: "SYNTAX 3", CodeHasCredentials: "SYNTAX 4", CodeNoConnID: "SYNTAX 5", CodeBadBody: "SYNTAX 6",
	CodeSize: "SIZE", CodeAuth: "AUTH", CodeInternal: "INTERNAL", CodeQuota: "QUOTA"}

func (c Code) String() string {
	if c == 0 || int(c) >= len(codes) {
		return fmt.Sprintf("Code(%d)", uint8(c))
	}
	return codes[c]
}

func (c Code) Error() string { return "the relay says ERR " + c.String() }

func codeOf(s []byte) Code {
	for c := CodeUnknown; c <= CodeQuota; c++ {
		if string(s) == codes[c] {
			return c
		}
	}
	return 0
}

// A SyntaxError is a transmission that cannot be used. It was read to its end:
// the next one can be read. Answer it with ERR Code to ID, which is empty when
// it could not be read either.
type SyntaxError struct {
	ID   ID
	Code Code
}

func (e *SyntaxError) Error() string { return "smp: bad transmission: " + e.Code.String() }

// Errors after which a connection cannot go on.
var (
	ErrLine      = errors.New("smp: a line without end")
	ErrBlock     = errors.New("smp: a block that does not authenticate")
	ErrExhausted = errors.New("smp: the connection's keys are used up; connect again")
	ErrHandshake = errors.New("smp: the handshake is not that of SMP v0.2")
	ErrTooLarge  = errors.New("smp: the transmission does not fit a block")
	// ErrServerKey says that the relay's key is not the one in its address: the
	// address is old, or somebody sits in between.
	ErrServerKey = errors.New("smp: the relay's key is not the one in the address; somebody may be intercepting the connection")
)
