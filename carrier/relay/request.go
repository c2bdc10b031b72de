package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

// ErrMissing says that a request lacks a field; its text is what One Time Chat's relay
// answers.
type ErrMissing struct{ Call, Field string }

func (e *ErrMissing) Error() string { return e.Call + " missing required field: " + e.Field }

// A Fields is what a request gives, each field once: given twice, two readers may see
// two requests.
type Fields struct {
	call   string
	values url.Values
}

// ParseFields reads a query or the body of a form.
func ParseFields(call, text string) (Fields, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return Fields{}, fmt.Errorf("%s: the fields cannot be read", call)
	}
	for name, all := range values {
		if len(all) > 1 {
			if len(name) > 32 || !utf8.ValidString(name) {
				name = "a field"
			}
			return Fields{}, fmt.Errorf("%s: %s is given twice", call, name)
		}
	}
	return Fields{call, values}, nil
}

func (f Fields) get(name string) (string, bool) {
	all, ok := f.values[name]
	if !ok {
		return "", false
	}
	return all[0], true
}

// Need returns a field that must be there and not empty.
func (f Fields) Need(name string) (string, error) {
	s, _ := f.get(name)
	if s == "" {
		return "", &ErrMissing{f.call, name}
	}
	return s, nil
}

func (f Fields) uid(name string) (string, error) {
	s, err := f.Need(name)
	if err != nil {
		return "", err
	}
	if err := CheckUID(s); err != nil {
		return "", fmt.Errorf("%s: %s: %w", f.call, name, err)
	}
	return s, nil
}

// ParseSend reads the form of /send.
func ParseSend(form string) (m Message, err error) {
	f, err := ParseFields("send", form)
	if err != nil {
		return m, err
	}
	if m.Recipient, err = f.uid("recipient_uid"); err != nil {
		return m, err
	}
	if m.Sender, err = f.uid("sender_uid"); err != nil {
		return m, err
	}
	var ok bool
	if m.Contents, ok = f.get("contents"); !ok {
		return m, &ErrMissing{"send", "contents"}
	}
	return m, CheckContents(m.Contents)
}

// CheckContents reports whether contents can be answered as they are.
func CheckContents(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("send: contents are not UTF-8")
	}
	return nil
}

// EchoTail is the last 10 characters of contents.
func EchoTail(s string) string {
	i := len(s)
	for range 10 {
		_, n := utf8.DecodeLastRuneInString(s[:i])
		i -= n
	}
	return s[i:]
}

// A Question is what /getmessages is asked.
type Question struct {
	Recipient string
	Start     int64
	Most      int           // messages to answer with; -1: all
	From      string        // only this sender's; "": all
	Waits     bool          // Wait is given, be it 0: who asks is a client of ours
	Wait      time.Duration // for one to come
}

// ParseQuestion reads the query of /getmessages.
func ParseQuestion(query string) (q Question, err error) {
	const call = "getmessages"
	f, err := ParseFields(call, query)
	if err != nil {
		return q, err
	}
	if q.Recipient, err = f.uid("recipient_uid"); err != nil {
		return q, err
	}
	start, err := f.Need("start_ref")
	if err != nil {
		return q, err
	}
	if q.Start, err = ParseRef(start); err != nil {
		return q, fmt.Errorf("%s: start_ref: %w", call, err)
	}
	q.Most = -1
	if s, ok := f.get("maxcount"); ok {
		n, err := ParseRef(s)
		if err != nil {
			return q, fmt.Errorf("%s: maxcount: not a number from 0 on", call)
		}
		q.Most = int(min(n, 1<<30))
	}
	if _, ok := f.get("from"); ok {
		if q.From, err = f.uid("from"); err != nil {
			return q, err
		}
	}
	if s, ok := f.get("wait"); ok {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n > MaxWait {
			return q, fmt.Errorf("%s: wait: not a number of seconds from 0 to %d", call, MaxWait)
		}
		q.Waits, q.Wait = true, time.Duration(n)*time.Second
	}
	return q, nil
}

// Query writes the query of /getmessages.
func (q Question) Query() string {
	v := url.Values{"recipient_uid": {q.Recipient}, "start_ref": {strconv.FormatInt(q.Start, 10)}}
	if q.Most >= 0 {
		v.Set("maxcount", strconv.Itoa(q.Most))
	}
	if q.From != "" {
		v.Set("from", q.From)
	}
	if q.Waits || q.Wait > 0 {
		v.Set("wait", strconv.Itoa(int(q.Wait/time.Second)))
	}
	return v.Encode()
}

// ParseNextRef reads the query of /getnextref.
func ParseNextRef(query string) (recipient string, err error) {
	f, err := ParseFields("getmessages", query) // so the original names it here, too
	if err != nil {
		return "", err
	}
	return f.uid("recipient_uid")
}

// ParseMischief reads the form of /mischief.
func ParseMischief(form string) (kind, uid string, err error) {
	f, err := ParseFields("mischief", form)
	if err != nil {
		return "", "", err
	}
	if kind, err = f.Need("kind"); err != nil {
		return "", "", err
	}
	uid, err = f.uid("userid")
	return kind, uid, err
}

// A request of ours says what is wrong with itself.
type request interface{ check() error }

// DecodeRequest reads a [SendRequest], [ClaimRequest] or [DoneRequest] and checks it.
func DecodeRequest(body []byte, v any) error {
	// A member given twice, or spelled otherwise, is what another reader may take.
	if err := strictObject(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New("the body is not the object that belongs here")
	}
	if r, ok := v.(request); ok {
		return r.check()
	}
	return nil
}

var members = map[string]bool{"recipient_uid": true, "sender_uid": true, "contents": true, "id": true, "receive": true, "send": true, "refs": true, "sums": true}

// strictObject takes one flat object whose members are known, each once.
func strictObject(body []byte) error {
	bad := errors.New("the body is not one JSON object with the members that belong here, each once")
	if !utf8.Valid(body) {
		return bad
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return bad
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok || !members[name] || seen[name] {
			return bad
		}
		seen[name] = true
		var value json.RawMessage
		if d.Decode(&value) != nil || name == "sums" && string(value) == "null" { // nor null
			return bad
		}
	}
	if _, err := d.Token(); err != nil {
		return bad
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad
	}
	return nil
}

func (q *SendRequest) check() error {
	if err := CheckUID(q.Recipient); err != nil {
		return fmt.Errorf("recipient_uid: %w", err)
	}
	if err := CheckUID(q.Sender); err != nil {
		return fmt.Errorf("sender_uid: %w", err)
	}
	if q.ID == (ID{}) {
		return errors.New("id is missing")
	}
	if _, ok := Decode(q.Contents); !ok {
		return errors.New("contents are not base64")
	}
	return nil
}

func (q *ClaimRequest) check() error {
	if err := CheckUID(q.Recipient); err != nil {
		return fmt.Errorf("recipient_uid: %w", err)
	}
	if q.Receive == nil {
		return errors.New("receive is missing")
	}
	return nil
}

func (q *DoneRequest) check() error {
	if err := CheckUID(q.Recipient); err != nil {
		return fmt.Errorf("recipient_uid: %w", err)
	}
	if len(q.Refs) > MaxDone {
		return fmt.Errorf("refs has more than %d numbers", MaxDone)
	}
	if q.Sums != nil && len(q.Sums) != len(q.Refs) { // an empty list, too: it must not pass for none
		return errors.New("sums are not as many as refs")
	}
	return nil
}
