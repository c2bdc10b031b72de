package smp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"io"
	"math"
	"net"
	"sync"
)

// A buffer holds a block's tag (when it is written), content, and tag (when it
// is read, as crypto/cipher wants it).
type buffer [BlockSize + TagSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// A half is one direction of an encrypted connection.
type half struct {
	aead cipher.AEAD
	iv   [16]byte
	next uint64 // counter of the next block
}

func newHalf(key, iv []byte) (h half, err error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return h, err
	}
	h.aead, err = cipher.NewGCMWithNonceSize(b, 16)
	copy(h.iv[:], iv)
	return h, err
}

// nonce returns the base IV with its first 32 bits XORed with the counter. After
// 2^32 blocks there is none left.
func (h *half) nonce() (iv [16]byte, err error) {
	if h.next > math.MaxUint32 {
		return iv, ErrExhausted
	}
	iv = h.iv
	binary.BigEndian.PutUint32(iv[:], binary.BigEndian.Uint32(iv[:])^uint32(h.next))
	h.next++
	return iv, nil
}

// seal encrypts the content at b[TagSize:BlockSize] in place; the block is then
// b[:BlockSize].
func (h *half) seal(b *buffer) error {
	iv, err := h.nonce()
	if err != nil {
		return err
	}
	out := h.aead.Seal(b[TagSize:TagSize], iv[:], b[TagSize:BlockSize], nil)
	copy(b[:TagSize], out[ContentSize:])
	return nil
}

// open decrypts the ciphertext at b[:ContentSize] in place.
func (h *half) open(tag []byte, b *buffer) error {
	iv, err := h.nonce()
	if err != nil {
		return err
	}
	copy(b[ContentSize:], tag)
	if _, err := h.aead.Open(b[:0], iv[:], b[:BlockSize], nil); err != nil {
		return ErrBlock
	}
	return nil
}

// A blockReader reads transmissions from blocks. Between blocks it holds no
// buffer: an idle connection waits for the 16 bytes of a tag.
type blockReader struct {
	half
	tag [TagSize]byte
	buf *buffer // nil between blocks
	at  int     // where the next transmission begins in buf
}

func (r *blockReader) release() {
	if r.buf != nil {
		buffers.Put(r.buf)
		r.buf = nil
	}
}

// more reports whether the block in hand holds more than padding.
func (r *blockReader) more() bool { return r.buf != nil && r.at < ContentSize && r.buf[r.at] != '#' }

// content returns what is left of the block in hand, or of the next one with
// more than padding in it.
func (r *blockReader) content(nc net.Conn) ([]byte, error) {
	for !r.more() {
		if err := r.fill(nc); err != nil {
			return nil, err
		}
	}
	return r.buf[r.at:ContentSize], nil
}

// fill reads the next block.
func (r *blockReader) fill(nc net.Conn) error {
	r.release()
	if _, err := io.ReadFull(nc, r.tag[:]); err != nil {
		return err
	}
	b := buffers.Get().(*buffer)
	_, err := io.ReadFull(nc, b[:ContentSize])
	if err = noEOF(err); err == nil {
		err = r.open(r.tag[:], b)
	}
	if err != nil {
		buffers.Put(b)
		return err
	}
	r.buf, r.at = b, 0
	return nil
}

func (r *blockReader) read(nc net.Conn, t *Transmission, lim limit) error {
	b, err := r.content(nc)
	if err != nil {
		return err
	}
	n, err := t.parse(b, lim)
	r.at += n
	rej, rejected := err.(*reject)
	switch {
	case err == nil:
		return nil
	case !rejected: // cut off by the end of the block
		r.at = ContentSize
		return &SyntaxError{ID: t.ID, Code: CodeBadParameters}
	case rej.resync:
		drop, found := resync(r.buf[r.at:ContentSize])
		if r.at += drop; !found {
			r.at = ContentSize
		}
	default:
		r.at = min(r.at+rej.skip, ContentSize)
		for range rej.lines {
			i := bytes.IndexByte(r.buf[r.at:ContentSize], '\n')
			if i < 0 {
				r.at = ContentSize
				break
			}
			r.at += i + 1
		}
	}
	return &rej.err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
