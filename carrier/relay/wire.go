package relay

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Limits that client and server share.
const (
	MaxUID      = 128     // bytes of a name
	MaxWait     = 60      // seconds that a question may wait for a message
	MaxContents = 2 << 20 // bytes of a message's contents in base64, unless a relay says otherwise
	MaxDone     = 1000    // numbers in one Done
)

// Paths.
const (
	PathCheck       = "/check"
	PathSend        = "/send"
	PathGetMessages = "/getmessages"
	PathGetNextRef  = "/getnextref"
	PathMischief    = "/mischief"
	PathV2Send      = "/v2/send"
	PathV2Claim     = "/v2/claim"
	PathV2Done      = "/v2/done"
)

// CheckUID reports what is wrong with a name: it has 1 to MaxUID bytes of UTF-8 and no
// control characters. Names are compared byte by byte: Bob and bob are two.
func CheckUID(uid string) error {
	if uid == "" {
		return errors.New("a name is empty")
	}
	if len(uid) > MaxUID {
		return fmt.Errorf("a name has more than %d bytes", MaxUID)
	}
	if !utf8.ValidString(uid) {
		return errors.New("a name is not UTF-8")
	}
	for _, r := range uid {
		if unicode.IsControl(r) {
			return errors.New("a name has a control character")
		}
	}
	return nil
}

// A Message is one that waits in a mailbox.
type Message struct {
	Ref       int64  `json:"ref"`
	Recipient string `json:"recipient_uid"`
	Sender    string `json:"sender_uid"` // as the sender claims
	Contents  string `json:"contents"`
}

// Check answers /check.
type Check struct {
	Status string `json:"status"`
}

// Sent answers /send.
type Sent struct {
	EchoTail string `json:"echo_tail"`
	Received bool   `json:"received"`
	Ref      int64  `json:"ref"`
}

// Messages answers /getmessages. Complete: nothing that is there was left out.
type Messages struct {
	Complete  bool      `json:"complete"`
	Count     int       `json:"count"`
	Messages  []Message `json:"messages"`
	Recipient string    `json:"recipient_uid"`
}

// NextRef answers /getnextref.
type NextRef struct {
	Next int64 `json:"nextref"`
}

// Failure answers what failed. Message is for people.
type Failure struct {
	Code    int    `json:"error"`
	Message string `json:"message"`
}

// SendRequest is the body of /v2/send. The same ID with the same sender and contents is
// one message, however often it comes.
type SendRequest struct {
	Recipient string `json:"recipient_uid"`
	Sender    string `json:"sender_uid"`
	Contents  string `json:"contents"`
	ID        ID     `json:"id"`
}

// SendReply answers it. Repeated: the message was there already.
type SendReply struct {
	Received bool  `json:"received"`
	Ref      int64 `json:"ref"`
	Repeated bool  `json:"repeated"`
}

// ClaimRequest is the body of /v2/claim. Receive and Send are hashes of tokens; without
// Send, everybody may send.
type ClaimRequest struct {
	Recipient string `json:"recipient_uid"`
	Receive   *Hash  `json:"receive"`
	Send      *Hash  `json:"send,omitempty"`
}

// ClaimReply answers it.
type ClaimReply struct {
	Claimed bool `json:"claimed"`
}

// DoneRequest is the body of /v2/done: messages that the owner has and the relay need
// not keep. With Sums, exactly one for each number, only those with that sum are deleted:
// after a relay's database was lost or put back, a number may stand for another message.
type DoneRequest struct {
	Recipient string  `json:"recipient_uid"`
	Refs      []int64 `json:"refs"`
	Sums      []Sum   `json:"sums,omitempty"`
}

// A Sum is the beginning of the SHA-256 of a message's contents, in 16 hex digits.
type Sum [8]byte

// SumOf returns the sum of contents.
func SumOf(contents string) Sum {
	h := sha256.Sum256([]byte(contents))
	return Sum(h[:8])
}

func (s Sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

func (s *Sum) UnmarshalText(b []byte) error { return unhex(s[:], b) }

// DoneReply answers it.
type DoneReply struct {
	Deleted int `json:"deleted"`
}

// An ID names one sending, in 32 hex digits.
type ID [16]byte

func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

func (id *ID) UnmarshalText(b []byte) error { return unhex(id[:], b) }

// A Hash is the SHA-256 of a token, in 64 hex digits.
type Hash [32]byte

func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

func (h *Hash) UnmarshalText(b []byte) error { return unhex(h[:], b) }

func unhex(to, text []byte) error {
	if len(text) != hex.EncodedLen(len(to)) {
		return fmt.Errorf("not %d hex digits", hex.EncodedLen(len(to)))
	}
	_, err := hex.Decode(to, text)
	return err
}

// tokenBytes is how many random bytes are in a token.
const tokenBytes = 32

// NewToken makes a token of random bytes.
func NewToken(random [tokenBytes]byte) string {
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// IsToken reports whether s has the form of a token: 43 characters of base64url.
func IsToken(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == tokenBytes && len(s) == 43
}

// HashToken is what a relay keeps of a token.
func HashToken(token string) Hash { return sha256.Sum256([]byte(token)) }

// Encode writes a packet as contents: standard base64, padded.
func Encode(packet []byte) string { return base64.StdEncoding.EncodeToString(packet) }

// Decode reads contents; ok is false when they are no packet.
func Decode(contents string) (packet []byte, ok bool) {
	for _, c := range []byte(contents) { // the decoder skips line ends
		if c == '\n' || c == '\r' {
			return nil, false
		}
	}
	b, err := base64.StdEncoding.Strict().DecodeString(contents)
	return b, err == nil
}

// EncodedLen is how long a packet's contents are.
func EncodedLen(n int) int { return base64.StdEncoding.EncodedLen(n) }

// DecodeJSON reads one object and nothing behind it. It takes members that it does not
// know: a relay may say more than was asked.
func DecodeJSON(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// ParseRef reads a number of a message: decimal digits, not negative.
func ParseRef(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || s[0] == '+' || s[0] == '-' { // no signs
		return 0, errors.New("not a number from 0 on")
	}
	return n, nil
}
