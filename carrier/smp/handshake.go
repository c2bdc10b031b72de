package smp

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Version is what a server says in the welcome block, in front of a space.
const Version = "v0.2.0"

const (
	helloSize  = 8                         // block size, 0, key size
	maxKeyDER  = 600                       // SPKI of 4096 bits: 550
	headerSize = 4 + 2 + 32 + 16 + 32 + 16 // block size, 0, client's send key and IV, receive key and IV
)

// An Identity is a server's key pair, ready for use.
type Identity struct {
	key   crypto.Decrypter
	size  int    // of the modulus, in bytes
	hello []byte // what the server says first
	hash  KeyHash
}

// NewIdentity makes a server's identity of its RSA key, which may be on a card.
func NewIdentity(key crypto.Decrypter) (*Identity, error) {
	pub, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, ErrKey
	}
	der, err := MarshalKey(pub)
	if err != nil {
		return nil, err
	}
	hello := binary.BigEndian.AppendUint32(nil, BlockSize)
	hello = binary.BigEndian.AppendUint16(hello, 0)
	hello = binary.BigEndian.AppendUint16(hello, uint16(len(der)))
	return &Identity{key, pub.Size(), append(hello, der...), HashKey(der)}, nil
}

// KeyHash returns what clients know the server by.
func (id *Identity) KeyHash() KeyHash { return id.hash }

// Accept does the server's part of the handshake (Appendix A): it costs one RSA
// decryption. The caller sets a deadline before and closes nc on an error. Any
// fault of the client is [ErrHandshake], whatever it was.
func (id *Identity) Accept(nc net.Conn) (*Conn, error) {
	if _, err := nc.Write(id.hello); err != nil {
		return nil, err
	}
	sealed := make([]byte, id.size)
	if _, err := io.ReadFull(nc, sealed); err != nil {
		return nil, err
	}
	header, err := id.key.Decrypt(rand.Reader, sealed, &rsa.OAEPOptions{Hash: crypto.SHA256})
	if err != nil {
		return nil, ErrHandshake
	}
	in, out, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	c := encrypted(nc, ServerSide, in, out)
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	if err := c.flush(b, TagSize+copy(b[TagSize:], Version+" ")); err != nil {
		return nil, err
	}
	return c, nil
}

// parseHeader returns the halves as the server sees them.
func parseHeader(h []byte) (in, out half, err error) {
	if len(h) != headerSize || binary.BigEndian.Uint32(h) != BlockSize || h[4] != 0 || h[5] != 0 {
		return in, out, ErrHandshake
	}
	if bytes.Equal(h[6:38], h[54:86]) {
		return in, out, ErrHandshake // one key both ways would use each IV twice
	}
	if in, err = newHalf(h[6:38], h[38:54]); err == nil {
		out, err = newHalf(h[54:86], h[86:102])
	}
	return in, out, err
}

// Connect does the client's part of the handshake with the server whose key has
// the given hash; [ErrServerKey] if it has another. The caller sets a deadline
// before and closes nc on an error.
func Connect(nc net.Conn, want KeyHash) (*Conn, error) {
	pub, err := readHello(nc, want)
	if err != nil {
		return nil, err
	}
	header := make([]byte, headerSize)
	rand.Read(header)
	binary.BigEndian.PutUint32(header, BlockSize)
	binary.BigEndian.PutUint16(header[4:], 0)
	sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, header, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrHandshake, err)
	}
	in, out, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	in, out = out, in // they are named as the server sees them
	if _, err := nc.Write(sealed); err != nil {
		return nil, err
	}
	c := encrypted(nc, ClientSide, in, out)
	if err := c.blocks.fill(nc); err != nil {
		return nil, noEOF(err)
	}
	defer c.blocks.release()
	version, _, ok := bytes.Cut(c.blocks.buf[:ContentSize], []byte{' '})
	if !ok || !bytes.HasPrefix(version, []byte("v0.2.")) {
		return nil, ErrHandshake
	}
	return c, nil
}

// readHello reads the server's key and compares it with the hash.
func readHello(r io.Reader, want KeyHash) (*rsa.PublicKey, error) {
	var head [helloSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, noEOF(err)
	}
	size := int(binary.BigEndian.Uint16(head[6:]))
	if binary.BigEndian.Uint32(head[:]) != BlockSize || head[4] != 0 || head[5] != 0 || size == 0 || size > maxKeyDER {
		return nil, ErrHandshake
	}
	der := make([]byte, size)
	if _, err := io.ReadFull(r, der); err != nil {
		return nil, noEOF(err)
	}
	if HashKey(der) != want {
		return nil, ErrServerKey
	}
	pub, err := ParseKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrHandshake, err)
	}
	return pub, nil
}
