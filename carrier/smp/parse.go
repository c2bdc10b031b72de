package smp

import (
	"bytes"
	"errors"
	"time"
)

// errShort: the transmission may be good, but its end has not come yet.
var errShort = errors.New("smp: more bytes are needed")

// A limit says what a connection takes.
type limit struct {
	side Side
	body int // largest body
}

// A reject is a SyntaxError and what to do to stay in step. Sizes that lie about
// a body must not turn that body into commands.
type reject struct {
	err    SyntaxError
	skip   int  // bytes to throw away after those consumed
	lines  int  // then line ends to pass
	resync bool // where the next transmission begins cannot be known
}

func (r *reject) Error() string { return r.err.Error() }

// parse reads the transmission at the start of b and returns how many bytes it
// took; t refers to b. The error is errShort, ErrLine or a *reject.
func (t *Transmission) parse(b []byte, lim limit) (int, error) {
	*t = Transmission{Signature: t.Signature[:0]}
	sig, start, err := line(b, 0, maxLine)
	if err != nil {
		return 0, err
	}
	id, at, err := line(b, start, maxLine)
	if err != nil {
		return 0, err
	}
	idErr := t.setID(id)
	n, end, err := t.message(b, at, lim)
	r, rejected := err.(*reject)
	if err != nil && !rejected {
		return 0, err
	}
	if t.Signature, err = decode(t.Signature, sig); err != nil || idErr != nil {
		if !rejected {
			r, rejected = &reject{}, true
		}
		r.err.Code = CodeBadParameters
	}
	if !rejected {
		if code := t.credentials(); code != 0 {
			r, rejected = &reject{err: SyntaxError{Code: code}}, true
		}
	}
	if rejected {
		r.err.ID = t.ID
		return n, r
	}
	t.Signed = b[start:end]
	return n, nil
}

// message reads msg at b[at:]. It returns where the transmission ends and where
// its signed part does.
func (t *Transmission) message(b []byte, at int, lim limit) (n, end int, err error) {
	most := maxLine
	text := bytes.HasPrefix(b[at:], []byte("SEND :")) || bytes.HasPrefix(b[at:], []byte("MSG "))
	if text {
		most = lim.body + 64
	}
	cmd, n, err := line(b, at, most)
	if err == ErrLine && text {
		return at, 0, &reject{err: SyntaxError{Code: CodeSize}, lines: 1}
	}
	if err != nil {
		return 0, 0, err
	}
	end = at + len(cmd)
	word, args, more := bytes.Cut(cmd, []byte{' '})
	t.Verb = verbOf(word)
	switch {
	case t.Verb == 0:
		return n, end, &reject{err: SyntaxError{Code: CodeUnknown}}
	case t.Verb.FromServer() != (lim.side == ClientSide):
		return n, end, &reject{err: SyntaxError{Code: CodeProhibited}, resync: t.Verb == MSG || t.Verb == SEND}
	case t.Verb == MSG:
		var stamp []byte
		stamp, args, more = bytes.Cut(args, []byte{' '})
		if t.Time, err = time.Parse(time.RFC3339, string(stamp)); err != nil {
			more = false
		}
	}
	if t.Verb != SEND && t.Verb != MSG {
		if code := t.parameters(args, more); code != 0 {
			err = &reject{err: SyntaxError{Code: code}}
		}
		return n, end, err
	}
	if !more {
		return n, end, &reject{err: SyntaxError{Code: CodeBadParameters}, resync: t.Verb == MSG}
	}
	return t.body(b, n, end, args, lim)
}

// body reads stringMsg / binaryMsg; args is the rest of the line that ends at
// b[end], and b[n] is what follows it.
func (t *Transmission) body(b []byte, n, end int, args []byte, lim limit) (int, int, error) {
	if len(args) > 0 && args[0] == ':' {
		switch t.Body = args[1:]; {
		case !clean(t.Body):
			return n, end, &reject{err: SyntaxError{Code: CodeBadBody}}
		case len(t.Body) > lim.body:
			return n, end, &reject{err: SyntaxError{Code: CodeSize}}
		}
		return n, end, nil
	}
	size, ok := parseSize(args)
	switch {
	case !ok:
		return n, end, &reject{err: SyntaxError{Code: CodeBadBody}, resync: true}
	case size > maxSkip:
		return n, end, &reject{err: SyntaxError{Code: CodeSize}, resync: true}
	case size > lim.body:
		return n, end, &reject{err: SyntaxError{Code: CodeSize}, skip: size, lines: 2}
	case len(b) < n+size:
		return 0, 0, errShort
	}
	t.Body = b[n : n+size]
	n += size
	end, err := lineEnd(b, n) // the body's own
	if err == errBodyEnd {
		return n, end, &reject{err: SyntaxError{Code: CodeSize}, lines: 2}
	}
	if err == nil {
		n, err = lineEnd(b, end) // the transmission's
	}
	if err == errBodyEnd {
		return end, end, &reject{err: SyntaxError{Code: CodeSize}, lines: 1}
	}
	return n, end, err
}

// parameters reads what follows a verb that has no body.
func (t *Transmission) parameters(args []byte, more bool) Code {
	var err error
	switch t.Verb {
	case CONN, KEY:
		t.Key, err = decode(nil, args)
		if err != nil || len(t.Key) == 0 {
			return CodeBadParameters
		}
	case IDS:
		rid, sid, _ := bytes.Cut(args, []byte{' '})
		var err2 error
		t.Recipient, err = parseID(rid)
		t.Sender, err2 = parseID(sid)
		if err != nil || err2 != nil || t.Recipient.n == 0 || t.Sender.n == 0 {
			return CodeBadParameters
		}
	case ERR:
		if t.Code = codeOf(args); t.Code == 0 {
			return CodeBadParameters
		}
	default:
		if more {
			return CodeBadParameters
		}
	}
	return 0
}

// credentials checks which of connection ID and signature are there.
func (t *Transmission) credentials() Code {
	id, sig := t.ID.n > 0, len(t.Signature) > 0
	switch t.Verb {
	case CONN:
		if id {
			return CodeHasCredentials
		}
	case SEND:
		if !id {
			return CodeNoConnID
		}
	case SUB, KEY, ACK, HOLD, DEL:
		if !id || !sig {
			return CodeNoCredentials
		}
	default:
		if sig || t.Verb == IDS && id {
			return CodeHasCredentials
		}
		if !id && (t.Verb == MSG || t.Verb == END) {
			return CodeNoCredentials
		}
	}
	return 0
}

func (t *Transmission) setID(text []byte) (err error) {
	t.ID, err = parseID(text)
	return err
}
