package paddevice

import (
	"encoding/json"

	"parley"
	"parley/secure/otp"
)

// PathRPC is where the original's RPC is, always by POST.
const PathRPC = "/runrpc"

// Methods of the original's RPC that may be called, with their parameters in order.
var Methods = map[string][]string{
	"package":       {"src_uid", "dst_uid", "message"},
	"unpackage":     {"src_uid", "dst_uid", "package"},
	"get_next_ref":  {"uid", "server"},
	"save_next_ref": {"uid", "server", "ref"},
}

// What the original's device says when something fails: the first ones in the "error"
// of what is returned, the others as the error of the call itself.
const (
	ErrorSelf     = "Rejecting message to yourself."
	ErrorRejected = "User rejected pad read request."
	ErrorNoPad    = "Shared pad not found."
	ErrorDepleted = "Pad depleted."
	ErrorEncrypt  = "Encryption failed."
	ErrorDecrypt  = "Decryption failed."

	ErrorNoMethod  = "no such rpc method"
	ErrorForbidden = "method not in allow list"
	ErrorException = "rpc call threw an exception"
)

// A Call is the body of a request.
type Call struct {
	Method string                     `json:"method"`
	Args   []json.RawMessage          `json:"args"`
	Kwargs map[string]json.RawMessage `json:"kwargs"`
}

// An Answer is the body of a reply: it has one of the two.
type Answer struct {
	Return json.RawMessage `json:"return,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Packaged is what package returns. Package is standard base64 with padding.
type Packaged struct {
	Success bool   `json:"success"`
	Package string `json:"package,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Unpackaged is what unpackage returns. The flags are there with a message, and with a
// package whose pad was used before.
type Unpackaged struct {
	Success bool    `json:"success"`
	Message *string `json:"message,omitempty"`
	Error   string  `json:"error,omitempty"`
	Skip    *bool   `json:"skip_detected,omitempty"`
	Reuse   *bool   `json:"reuse_detected,omitempty"`
}

// RPCFailure returns the error that the "error" of what was returned stands for. reuse
// is the flag beside it.
func RPCFailure(text string, reuse bool) error {
	f := &Failure{Text: text}
	switch {
	case reuse:
		f.kinds = []error{parley.ErrSeen}
	case text == ErrorRejected:
		f.kinds = []error{parley.ErrDenied}
	case text == ErrorNoPad:
		f.kinds = []error{parley.ErrNoKey}
	case text == ErrorDepleted:
		f.kinds = []error{parley.ErrRefused, otp.ErrDepleted}
	case text == ErrorDecrypt:
		f.kinds = []error{parley.ErrForged}
	default:
		f.kinds = []error{parley.ErrRefused}
	}
	return f
}
