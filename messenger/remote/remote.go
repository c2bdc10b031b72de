// Package remote lets several processes use the messenger of one profile. The
// process that owns the profile serves its [messenger.API] with a [Server] on a
// socket that only its user can open; every other process dials it and gets a
// [Client], which implements the same API.
//
// The wire is JSON-RPC 2.0, one object per line, without batches. Requests go
// both ways: "listen" makes the owner ask "show" for each message, and the
// answer is what makes the message count as shown. "item" and "changed" are
// notifications that belong to the request named by stream; "cancel" ends a
// request. Method names, parameters and limits are in docs/cli.md.
package remote

import (
	"errors"
	"time"
)

// Version is the number both sides must have; it changes with the wire.
const Version = 2

// Limits.
const (
	// MaxLine is the longest line either side takes, in bytes. A text of
	// messenger.MaxText bytes can become six times as long in JSON.
	MaxLine = 2 << 20
	// MaxClients is how many connections a server holds at a time.
	MaxClients = 64
	// MaxRequests is how many requests of one connection may be under way.
	MaxRequests = 32
	// backlog is how many changes may wait for a watcher that does not read.
	backlog = 1024
)

// Time limits.
const (
	helloTimeout = 5 * time.Second  // for the other side to say hello
	writeTimeout = 10 * time.Second // for the other side to take a line
	showTimeout  = time.Minute      // for a face to show one message
)

// Errors of the connection itself. All others are those of the API.
var (
	// ErrGone says that the owner ended. Of a request under way it is not known
	// whether it was carried out.
	ErrGone = errors.New("the process that holds the profile has ended")
	// ErrClosing says the same of a request that was certainly not begun, or
	// that waited without changing anything (Wait, Listen, Watch).
	ErrClosing = errors.New("the process that holds the profile is ending")
	// ErrNoAnswer says that nothing speaks this wire at the socket, or not in time.
	ErrNoAnswer = errors.New("the process that holds the profile does not answer")
	// ErrVersion says that the other side speaks another version.
	ErrVersion = errors.New("the process that holds the profile is another version of this program")
	// ErrSlow ends a stream whose reader does not keep up.
	ErrSlow = errors.New("the reader does not keep up")
	// ErrForeign says that the other side is another user.
	ErrForeign = errors.New("the other side of the socket belongs to another user")
)

// Hello is what both sides tell each other first.
type Hello struct {
	Version int    `json:"version"`
	PID     int    `json:"pid"`
	Profile string `json:"profile,omitempty"` // the owner's
}
