package client

import (
	"errors"
	"fmt"

	"parley"
	"parley/carrier/mqtt"
)

// A reason is a reason code (MQTT 5 §2.4); from 0x80 on it is a refusal.
type reason byte

const (
	reasonUnspecified reason = 0x80
	reasonVersion     reason = 0x84
	reasonClientID    reason = 0x85
	reasonPassword    reason = 0x86
	reasonDenied      reason = 0x87
	reasonUnavailable reason = 0x88
	reasonBusy        reason = 0x89
	reasonBanned      reason = 0x8A
	reasonTakenOver   reason = 0x8E
	reasonNoID        reason = 0x92
	reasonTooLarge    reason = 0x95
	reasonQuota       reason = 0x97
)

var reasonText = map[reason]string{
	0x80: "it says no more than that", 0x81: "it calls a packet malformed", 0x82: "it calls that a protocol error",
	0x83: "for a reason of its own", 0x84: "it does not speak this version of MQTT",
	0x85: "it does not accept the client ID", 0x86: "user or password are wrong", 0x87: "not authorised",
	0x88: "it is unavailable", 0x89: "it is busy", 0x8A: "this client is banned", 0x8B: "it is shutting down",
	0x8C: "it wants another way to log in", 0x8D: "it heard nothing for too long",
	0x8E: "another client has connected with the same client ID", 0x8F: "it does not accept the topic filter",
	0x90: "it does not accept the topic", 0x91: "it uses that packet identifier already", 0x92: "it does not know that packet identifier",
	0x93: "too many packets at once", 0x94: "a topic alias is wrong", 0x95: "the packet is too large", 0x96: "too many messages in a short time",
	0x97: "its quota is exceeded", 0x98: "an operator's action", 0x99: "the payload has not the format it names",
	0x9A: "it keeps no retained messages", 0x9B: "it does not offer that QoS", 0x9C: "use another server", 0x9D: "it has moved to another server",
	0x9E: "it has no shared subscriptions", 0x9F: "too many connections in a short time", 0xA0: "the connection lasted as long as it may",
	0xA1: "it has no subscription identifiers", 0xA2: "it has no wildcard subscriptions",
}

// A ReasonError is a broker's refusal. It is the error of the contract that tells
// what to do: [parley.ErrDenied], [parley.ErrFull], [parley.ErrRefused] or
// [parley.ErrOffline].
type ReasonError struct {
	Code byte // of MQTT 5 §2.4; those of 3.1.1 are translated
}

func (e ReasonError) Error() string {
	text := reasonText[reason(e.Code)]
	if text == "" {
		text = "it gives a reason that nobody knows"
	}
	return fmt.Sprintf("the broker says no (0x%02X): %s", e.Code, text)
}

// Is makes a refusal of the contract of a reason code.
func (e ReasonError) Is(target error) bool {
	switch reason(e.Code) {
	case reasonPassword, reasonDenied, reasonBanned, 0x8C:
		return target == parley.ErrDenied
	case reasonQuota, 0x93, 0x96:
		return target == parley.ErrFull
	case reasonUnspecified, 0x83, reasonUnavailable, reasonBusy, 0x8B, 0x8D, 0x91, reasonNoID, 0x98, 0x9F, 0xA0:
		return target == parley.ErrOffline
	case reasonTakenOver:
		return target == ErrTakenOver || target == parley.ErrOffline
	}
	return target == parley.ErrRefused
}

// refusal returns the error of a reason code, nil if it is none.
func refusal(r reason) error {
	if r < 0x80 {
		return nil
	}
	return ReasonError{byte(r)}
}

// subscription's refusal: 3.1.1 has one code for all of them, and what a broker
// mostly means by it is the rights.
func subRefusal(r reason, version int) error {
	if r == reasonUnspecified && version == mqtt.V311 {
		return fmt.Errorf("%w: the broker refuses the subscription; mostly this means that the user may not read that topic", parley.ErrDenied)
	}
	return refusal(r)
}

var (
	// ErrTakenOver says that another client has connected with the same client ID:
	// another copy of this program or of this profile.
	ErrTakenOver = errors.New("another client has connected with this client ID")
	// ErrSubscribed says that a Conn has a handler for that filter already.
	ErrSubscribed = fmt.Errorf("%w: this filter is subscribed to already", parley.ErrRefused)
	// ErrClosed says that the Conn or the Client is closed.
	ErrClosed = fmt.Errorf("%w: the connection was closed here", parley.ErrOffline)
	// ErrSessionLost says that a broker has forgotten the session, and with it what
	// was waiting in it: it was restarted without persistence, or the session expired.
	ErrSessionLost = errors.New("the broker has forgotten this session; messages that waited in it are lost")
	// ErrReceiving says that a mailbox is being received from already.
	ErrReceiving = errors.New("this mailbox is being received from already")

	errSilent   = errors.New("the broker does not answer")
	errHangup   = errors.New("the broker has closed the connection")
	errOverflow = errors.New("the broker sends more at once than can be kept; the rest comes after a new connection")
)

// A CertificateError says that a broker's certificate is not the one that was
// pinned, or is signed by nobody we know. It is a kind of [parley.ErrOffline]:
// packets wait until people have found out why.
type CertificateError struct {
	Broker string
	Pinned bool  // the certificate is another than cert-sha256
	Err    error // when not pinned
}

func (e *CertificateError) Error() string {
	if e.Pinned {
		return "the certificate of " + e.Broker + " is not the one of cert-sha256: someone may be intercepting the connection, " +
			"or the broker has a new one; ask its operator for the hash before you go on"
	}
	return fmt.Sprintf("the certificate of %s is not accepted: %v; give its hash as cert-sha256=HEX if it is signed by nobody", e.Broker, e.Err)
}

func (e *CertificateError) Unwrap() error        { return e.Err }
func (e *CertificateError) Is(target error) bool { return target == parley.ErrOffline }

// offline marks what is neither a refusal nor anything else as out of reach.
func offline(err error) error {
	for _, known := range []error{parley.ErrOffline, parley.ErrDenied, parley.ErrFull, parley.ErrRefused} {
		if err == nil || errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", parley.ErrOffline, err)
}

// hopeless reports whether another attempt to connect would be answered alike.
func hopeless(err error) bool {
	var c *CertificateError
	return errors.Is(err, parley.ErrDenied) || errors.Is(err, parley.ErrRefused) || errors.As(err, &c)
}
