package envelope

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"parley"
)

// MaxPieces is the largest number of pieces of one packet.
const MaxPieces = 1024

// PieceOverhead is what a piece takes at most besides its part of the packet,
// in bytes: 36 for the fragment's header, up to 10 for the envelope.
const PieceOverhead = 46

const fragmentHeader = sha256.Size + 2 + 2

var (
	// ErrTooLong means that a packet does not fit into MaxPieces pieces.
	ErrTooLong = errors.New("the packet is too long to be split")
	// ErrIncomplete means that pieces are missing: wait for them.
	ErrIncomplete = errors.New("pieces of the packet are missing")
)

// A Fragment is one piece of a packet.
type Fragment struct {
	Digest [32]byte // SHA-256 of the whole packet: pieces with the same one belong together
	Index  int      // from 0
	Count  int      // 2 to MaxPieces
	Chunk  []byte   // never empty
}

// Split returns the packet itself if it has at most max bytes, else envelopes of
// [parley.Fragment] of at most max bytes each, in order, whose chunks differ by
// at most one byte in length. The same packet always gives the same pieces. It
// refuses an empty packet, a packet that is a piece itself, a max with no room
// for a chunk, and a packet of more than MaxPieces pieces ([ErrTooLong]).
func Split(packet []byte, max int) ([][]byte, error) {
	if len(packet) == 0 {
		return nil, errors.New("envelope: an empty packet cannot be sent")
	}
	if isFragment(packet) {
		return nil, errors.New("envelope: a piece is not split again")
	}
	if len(packet) <= max {
		return [][]byte{packet}, nil
	}
	room := max - PieceOverhead
	if room < 1 {
		return nil, fmt.Errorf("envelope: pieces of %d bytes hold nothing, at least %d are needed", max, PieceOverhead+1)
	}
	count := (len(packet)-1)/room + 1
	if count > MaxPieces {
		return nil, fmt.Errorf("envelope: %w: %d bytes in pieces of %d are %d pieces, at most %d",
			ErrTooLong, len(packet), max, count, MaxPieces)
	}
	digest := sha256.Sum256(packet)
	pieces := make([][]byte, count)
	for i := range pieces {
		// 64 bits hold the product: a packet of MaxPieces pieces fits memory.
		from := int(int64(len(packet)) * int64(i) / int64(count))
		to := int(int64(len(packet)) * int64(i+1) / int64(count))
		p := make([]byte, 0, fragmentHeader+to-from)
		p = append(p, digest[:]...)
		p = binary.BigEndian.AppendUint16(p, uint16(i))
		p = binary.BigEndian.AppendUint16(p, uint16(count))
		p = append(p, packet[from:to]...)
		pieces[i] = Marshal(Envelope{STP: parley.Fragment, Payload: p})
	}
	return pieces, nil
}

// ParseFragment reads the piece in an envelope of [parley.Fragment]. Chunk
// shares e's memory.
func ParseFragment(e Envelope) (Fragment, error) {
	var f Fragment
	if e.STP != parley.Fragment {
		return f, malformed("protocol %d.%d is not a piece", e.STP.Type, e.STP.Version)
	}
	if e.Seq != 0 {
		return f, malformed("a piece has a sequence number")
	}
	if len(e.Payload) <= fragmentHeader {
		return f, malformed("piece of %d bytes, more than %d are needed", len(e.Payload), fragmentHeader)
	}
	copy(f.Digest[:], e.Payload)
	f.Index = int(binary.BigEndian.Uint16(e.Payload[sha256.Size:]))
	f.Count = int(binary.BigEndian.Uint16(e.Payload[sha256.Size+2:]))
	f.Chunk = e.Payload[fragmentHeader:]
	if f.Count < 2 || f.Count > MaxPieces {
		return Fragment{}, malformed("a packet of %d pieces", f.Count)
	}
	if f.Index >= f.Count {
		return Fragment{}, malformed("piece %d of %d", f.Index, f.Count)
	}
	return f, nil
}

// Assemble joins the pieces of one packet, given in any order. Equal duplicates
// do no harm. It returns [ErrIncomplete] while pieces are missing, and
// [parley.ErrMalformed] when they are of different packets or counts, when two
// with the same index differ, when the whole has another digest, or when the
// whole is a piece again.
func Assemble(pieces []Fragment) ([]byte, error) {
	if len(pieces) == 0 {
		return nil, fmt.Errorf("envelope: %w", ErrIncomplete)
	}
	digest, count := pieces[0].Digest, pieces[0].Count
	if count < 2 || count > MaxPieces {
		return nil, malformed("a packet of %d pieces", count)
	}
	chunks := make([][]byte, count)
	have, size := 0, 0
	for _, p := range pieces {
		switch {
		case p.Digest != digest:
			return nil, malformed("pieces of different packets")
		case p.Count != count:
			return nil, malformed("pieces disagree on their number: %d and %d", count, p.Count)
		case p.Index < 0 || p.Index >= count:
			return nil, malformed("piece %d of %d", p.Index, count)
		case len(p.Chunk) == 0:
			return nil, malformed("piece %d is empty", p.Index)
		case chunks[p.Index] == nil:
			chunks[p.Index] = p.Chunk
			have++
			size += len(p.Chunk)
		case !bytes.Equal(chunks[p.Index], p.Chunk):
			return nil, malformed("two different pieces %d", p.Index)
		}
	}
	if have < count {
		return nil, fmt.Errorf("envelope: %w: %d of %d are here", ErrIncomplete, have, count)
	}
	packet := make([]byte, 0, size)
	for _, c := range chunks {
		packet = append(packet, c...)
	}
	if sha256.Sum256(packet) != digest {
		return nil, malformed("the joined packet has another digest")
	}
	if isFragment(packet) {
		return nil, malformed("a piece inside of pieces")
	}
	return packet, nil
}

// isFragment keeps joining one level deep.
func isFragment(packet []byte) bool {
	e, err := Parse(packet)
	return err == nil && e.STP == parley.Fragment
}
