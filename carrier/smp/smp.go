// Package smp is the wire of the Simplex Messaging Protocol as of October 2020
// (seeds/smp-2020-10), for clients and servers alike: transmissions, signatures,
// the encrypted transport of Appendix A, plain lines, server addresses and the
// out-of-band message. It moves bytes and keeps no state beyond a connection.
// docs/smp2020.md says where the text leaves a choice and which one is taken.
//
// A connection is a [Conn]: [Identity.Accept] makes the server's end, [Connect]
// the client's, [Plain] either end without encryption. [Conn.Next] reads one
// [Transmission] at a time, [Conn.Send] packs several into each block.
//
// The end-to-end layer is not here: a server that links this package cannot open
// a message.
package smp

import "fmt"

// Sizes in bytes.
const (
	IDSize    = 16 // of the IDs our servers make (128 bits)
	MaxIDSize = 24 // of the IDs that are understood; a longer one is ERR SYNTAX 2

	BlockSize   = 4096                // of an encrypted block
	TagSize     = 16                  // of its AES-GCM tag, which comes first
	ContentSize = BlockSize - TagSize // what a block holds: transmissions, then '#'

	// MaxBody is the largest SEND body that fits a block together with the
	// signature of a 2048-bit key, the size our client uses.
	MaxBody = ContentSize - sendOverhead - 344
	// MaxBodyBlock is the largest body of any SEND in a block, signed or not. It
	// is what the MSG that delivers it can hold, so that nothing is taken in
	// that cannot be given out. A longer one is ERR SIZE.
	MaxBodyBlock = ContentSize - msgOverhead
	// MaxBodyPlain is the largest body on a plain connection.
	MaxBodyPlain = 64 << 10

	sendOverhead = 1 + 25 + len("SEND 0000\n") + 2                         // signature's LF, ID, body's LF, last LF
	msgOverhead  = 1 + 33 + len("MSG 2020-10-15T00:00:00.000Z 0000\n") + 2 // room for an ID of MaxIDSize

	maxLine = 1024     // signature, ID, or a command without its body; a 4096-bit key needs 742
	maxSkip = 16 << 20 // what is read and thrown away to stay in step
)

// A Verb is the first word of a command or response.
type Verb uint8

// The commands, then the responses. END is what a displaced subscriber gets; the
// text has no word for it.
const (
	CONN Verb = iota + 1
	SUB
	KEY
	ACK
	HOLD
	DEL
	SEND

	IDS
	OK
	ERR
	MSG
	END
)

var verbs = [...]string{CONN: "CONN", SUB: "SUB", KEY: "KEY", ACK: "ACK", HOLD: "HOLD", DEL: "DEL", SEND: "SEND",
	IDS: "IDS", OK: "OK", ERR: "ERR", MSG: "MSG", END: "END"}

func (v Verb) String() string {
	if v == 0 || int(v) >= len(verbs) {
		return fmt.Sprintf("Verb(%d)", uint8(v))
	}
	return verbs[v]
}

// FromServer reports whether only servers may say it.
func (v Verb) FromServer() bool { return v >= IDS }

func verbOf(word []byte) Verb {
	for v := CONN; v <= END; v++ {
		if string(word) == verbs[v] {
			return v
		}
	}
	return 0
}

// A Side is an end of a connection.
type Side uint8

// Sides. A server reads commands, a client responses.
const (
	ServerSide Side = iota + 1
	ClientSide
)

// An ID names a connection (a queue) in one of its two roles: RID or SID. It is
// comparable; the zero ID is the empty one.
type ID struct {
	n byte
	b [MaxIDSize]byte
}

// MakeID copies b, which has at most [MaxIDSize] bytes.
func MakeID(b []byte) (ID, error) {
	var id ID
	if len(b) > MaxIDSize {
		return id, fmt.Errorf("smp: an ID of %d bytes; at most %d are allowed", len(b), MaxIDSize)
	}
	id.n = byte(copy(id.b[:], b))
	return id, nil
}

// Bytes returns a copy of the ID's bytes, empty for the zero ID.
func (id ID) Bytes() []byte { return append([]byte{}, id.b[:id.n]...) }

// Len returns the ID's length in bytes.
func (id ID) Len() int { return int(id.n) }

// String returns the ID in base64, as on the wire.
func (id ID) String() string { return string(id.append(nil)) }

func (id ID) append(dst []byte) []byte { return base64s.AppendEncode(dst, id.b[:id.n]) }
