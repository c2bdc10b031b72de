package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"syscall"
)

// A mailFault is what is wrong with the mail server, for the operator: in our words,
// and with its code, never in its own words, which may have an address.
type mailFault struct {
	what  string
	code  int  // of SMTP (RFC 5321 §4.2); 0 without one
	final bool // it will not take this mail later either
	slow  bool // it did not answer in time
}

func (f *mailFault) Error() string {
	if f.code == 0 {
		return f.what
	}
	return fmt.Sprintf("%s (code %d)", f.what, f.code)
}

// unavailable is the code of a server that ends the connection (RFC 5321 §3.8).
const unavailable = 421

// A step is what was being done when a fault came.
type step int

const (
	connecting step = iota
	securing
	greeting
	loggingIn
	naming     // the sender: MAIL
	addressing // the recipient: RCPT
	sending    // the text: DATA
)

var steps = [...]string{"be connected to", "begin TLS", "greet", "let us log in", "take a sender", "take a recipient", "take a mail"}

// faultOf says what an error means.
func faultOf(at step, err error) *mailFault {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return refusal(at, reply.Code)
	}
	var name *net.DNSError
	var slow interface{ Timeout() bool }
	var record tls.RecordHeaderError
	switch what := certificateFault(err); {
	case what != "":
		return &mailFault{what: what}
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &slow) && slow.Timeout():
		return &mailFault{what: "the mail server takes too long to " + steps[at], slow: true}
	case errors.As(err, &name):
		return &mailFault{what: "the mail server's name cannot be resolved"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &mailFault{what: "the mail server's machine refuses the connection: nothing listens at that port"}
	case errors.As(err, &record):
		return &mailFault{what: "the mail server does not speak TLS at that port: smtps:// is TLS from the first byte, smtp:// STARTTLS"}
	case at == connecting:
		return &mailFault{what: "the mail server cannot be reached"}
	case at == securing:
		return &mailFault{what: "TLS with the mail server fails"}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return &mailFault{what: "the mail server closes the connection where it should " + steps[at]}
	}
	return &mailFault{what: "the mail server answers with what is not SMTP where it should " + steps[at]}
}

// refusal says what a code means. Only what is said of the recipient or of the text
// is said of this mail; all else is for the operator to mend, and mails wait.
func refusal(at step, code int) *mailFault {
	f := &mailFault{code: code}
	switch now := code < 500; {
	case code == unavailable:
		f.what = "the mail server is not available now"
	case at == greeting:
		f.what = "the mail server turns us away"
	case at == securing:
		f.what = "the mail server refuses STARTTLS"
	case at == loggingIn && now:
		f.what = "the mail server cannot check the login now"
	case at == loggingIn && code == 535:
		f.what = "the mail server refuses the user or the password"
	case at == loggingIn:
		f.what = "the mail server refuses the login"
	case code == 530:
		f.what = "the mail server wants a login first"
	case at == naming:
		f.what = "the mail server does not take mails from our address"
	case now:
		f.what = "the mail server does not take the mail now"
	default:
		f.what, f.final = "the mail server refuses the mail for good", true
	}
	return f
}

// certificateFault says why a certificate is not trusted; it is empty if that is not
// what is wrong.
func certificateFault(err error) string {
	var (
		invalid   x509.CertificateInvalidError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		other     *tls.CertificateVerificationError
	)
	const of = "the mail server's certificate is not trusted: "
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return of + "it has expired or is not valid yet"
	case errors.As(err, &host):
		return of + "it is for another name"
	case errors.As(err, &authority):
		return of + "nobody whom this machine trusts has signed it (?ca=FILE names others)"
	case errors.As(err, &other):
		return of + "it does not verify"
	}
	return ""
}
