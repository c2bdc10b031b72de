package paddevice

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"parley"
	"parley/internal/jsonobject"
	"parley/secure/otp"
)

// Paths of the paired channel, always by POST, with a [Request] as the body and a [Reply].
const (
	PathPair      = "/v1/pair"      // Name, Secret: this client's key is known from now on
	PathPackage   = "/v1/package"   // ID, Self, Peer, Data: the message → Data: the packet
	PathUnpackage = "/v1/unpackage" // Self, Peer, Data: the packet → Opened
	PathDone      = "/v1/done"      // Self, Peer, Digest
	PathStatus    = "/v1/status"    // Self, Peer → Status
	PathGrant     = "/v1/grant"     // ID, Self, Peer, N → Data: the packet
	PathPads      = "/v1/pads"      // → Pads
)

// MaxRequest is the longest body of a request or reply, in bytes: a packet of
// [otp.MaxBody] in base64, and the rest.
const MaxRequest = (otp.MaxBody+4096)/3*4 + 16<<10

// MaxClientName is the longest name of a client, in bytes.
const MaxClientName = 64

// A Request is one JSON object. Members that a path does not need are absent.
type Request struct {
	ID         [16]byte    // hex
	Self, Peer parley.Name // whose pad, and with whom
	Data       []byte      // base64
	Digest     [32]byte    // hex
	N          int64
	Name       string
	Secret     [16]byte // hex
}

// A Reply is one JSON object. With Error set there is nothing else but Kinds.
type Reply struct {
	Data   []byte       `json:"data,omitempty"`
	Opened *otp.Opened  `json:"opened,omitempty"`
	Status *otp.Status  `json:"status,omitempty"`
	Pads   []otp.Status `json:"pads,omitempty"`
	Error  string       `json:"error,omitempty"` // for people
	Kinds  []string     `json:"kinds,omitempty"`
}

// kinds are the names of the errors that can cross the channel.
var kinds = []struct {
	name string
	err  error
}{
	{"forged", parley.ErrForged}, {"malformed", parley.ErrMalformed}, {"seen", parley.ErrSeen},
	{"refused", parley.ErrRefused}, {"nokey", parley.ErrNoKey}, {"denied", parley.ErrDenied},
	{"offline", parley.ErrOffline}, {"full", parley.ErrFull}, {"untrusted", parley.ErrUntrusted},
	{"late", parley.ErrLate}, {"forked", parley.ErrForked},
	{"depleted", otp.ErrDepleted}, {"held", otp.ErrHeld}, {"unanswered", otp.ErrUnanswered},
}

// Fail makes the reply that tells of an error. It passes on the error's text only when
// the error is one of those that have a name: whatever else went wrong on a device is
// nothing for its clients.
func Fail(err error) Reply {
	r := Reply{Error: "the device could not do it: its own log says more"}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			r.Kinds = append(r.Kinds, k.name)
			r.Error = err.Error()
		}
	}
	return r
}

// A Failure is the error that a device has told of.
type Failure struct {
	Text  string // the device's words
	kinds []error
}

func (f *Failure) Error() string   { return f.Text }
func (f *Failure) Unwrap() []error { return f.kinds }

// Err returns the error in a reply, which wraps what the device's did, or nil. One
// without a kind that we know wraps [parley.ErrOffline]: it says nothing of the message,
// and another try may do.
func (r *Reply) Err() error {
	if r.Error == "" && len(r.Kinds) == 0 {
		return nil
	}
	f := &Failure{Text: r.Error}
	for _, name := range r.Kinds {
		for _, k := range kinds {
			if k.name == name {
				f.kinds = append(f.kinds, k.err)
			}
		}
	}
	if len(f.kinds) == 0 {
		f.kinds = []error{parley.ErrOffline}
	}
	return f
}

// MarshalJSON writes the members that are not zero.
func (q Request) MarshalJSON() ([]byte, error) {
	m := map[string]any{}
	put := func(name string, zero bool, v any) {
		if !zero {
			m[name] = v
		}
	}
	put("id", q.ID == [16]byte{}, hex.EncodeToString(q.ID[:]))
	put("self", q.Self == "", q.Self)
	put("peer", q.Peer == "", q.Peer)
	put("data", q.Data == nil, q.Data)
	put("digest", q.Digest == [32]byte{}, hex.EncodeToString(q.Digest[:]))
	put("n", q.N == 0, q.N)
	put("name", q.Name == "", q.Name)
	put("secret", q.Secret == [16]byte{}, hex.EncodeToString(q.Secret[:]))
	return json.Marshal(m)
}

// ParseRequest reads a request. The error is [parley.ErrMalformed], and repeats nothing of
// it but a member's name.
func ParseRequest(b []byte) (*Request, error) {
	o, err := jsonobject.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", parley.ErrMalformed, err)
	}
	q := &Request{}
	for name := range o {
		if name == "n" {
			if q.N, err = o.Int(name); err != nil {
				return nil, fmt.Errorf("%w: %w", parley.ErrMalformed, err)
			}
			continue
		}
		s, err := o.String(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", parley.ErrMalformed, err)
		}
		ok := true
		switch name {
		case "id":
			ok = unhex(q.ID[:], s)
		case "digest":
			ok = unhex(q.Digest[:], s)
		case "secret":
			ok = unhex(q.Secret[:], s)
		case "self":
			q.Self = parley.Name(s)
		case "peer":
			q.Peer = parley.Name(s)
		case "name":
			q.Name = s
		case "data":
			q.Data, err = base64.StdEncoding.Strict().DecodeString(s)
			ok = err == nil && len(q.Data) <= otp.MaxBody+4096
		default:
			return nil, fmt.Errorf("%w: there is no member %q", parley.ErrMalformed, name)
		}
		if !ok {
			return nil, fmt.Errorf("%w: member %q has not the right form", parley.ErrMalformed, name)
		}
	}
	return q, nil
}

func unhex(to []byte, s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == len(to) && copy(to, b) == len(to)
}

// ValidClient says what is wrong with a client's name.
func ValidClient(name string) error {
	if name == "" || len(name) > MaxClientName {
		return fmt.Errorf("%w: a client's name has 1 to %d bytes", parley.ErrRefused, MaxClientName)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') || name[0] == '.' {
			return fmt.Errorf("%w: a client's name has letters, digits, '-', '_' and '.', and does not begin with a dot", parley.ErrRefused)
		}
	}
	return nil
}
