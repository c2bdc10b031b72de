package smpclient

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"parley/carrier/smp"
)

// The end-to-end layer. The text says RSA-OAEP to EK, which alone holds 190
// bytes; so OAEP carries a fresh key: OAEP-SHA-256(key 32 ‖ IV 16 ‖ tag 16) ‖
// AES-256-GCM ciphertext. Inside is reserved LF clientBody LF.
const (
	sealKey = 32
	sealIV  = 16
	sealTag = 16
)

var (
	errSealed   = errors.New("the body cannot be opened")
	errReserved = errors.New("the body is not reserved LF clientBody LF")
)

func bodyCipher(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithNonceSize(b, sealIV)
}

// sealBody seals plain for the holder of ek: ek.Size() bytes more.
func sealBody(ek *rsa.PublicKey, plain []byte) ([]byte, error) {
	var head [sealKey + sealIV + sealTag]byte
	rand.Read(head[:sealKey+sealIV])
	aead, err := bodyCipher(head[:sealKey])
	if err != nil {
		return nil, err
	}
	sealed := aead.Seal(nil, head[sealKey:sealKey+sealIV], plain, nil)
	copy(head[sealKey+sealIV:], sealed[len(plain):])
	out, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, ek, head[:], nil)
	if err != nil {
		return nil, err
	}
	return append(out, sealed[:len(plain)]...), nil
}

// openBody undoes sealBody. All that can be wrong with a body is errSealed.
func openBody(ek *rsa.PrivateKey, body []byte) ([]byte, error) {
	n := ek.Size()
	if len(body) < n {
		return nil, errSealed
	}
	head, err := rsa.DecryptOAEP(sha256.New(), nil, ek, body[:n], nil)
	if err != nil || len(head) != sealKey+sealIV+sealTag {
		return nil, errSealed
	}
	aead, err := bodyCipher(head[:sealKey])
	if err != nil {
		return nil, errSealed
	}
	sealed := append(bytes.Clone(body[n:]), head[sealKey+sealIV:]...)
	plain, err := aead.Open(sealed[:0], head[sealKey:sealKey+sealIV], sealed, nil)
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

var keyWord = []byte("KEY ")

// splitBody takes a decryptedBody apart. bind is the sender's key (SPKI DER) if
// reserved is senderKeyMsg.
func splitBody(plain []byte) (reserved, client, bind []byte, err error) {
	i := bytes.IndexByte(plain, '\n')
	if i < 0 || i == len(plain)-1 || plain[len(plain)-1] != '\n' {
		return nil, nil, nil, errReserved
	}
	reserved, client = plain[:i], plain[i+1:len(plain)-1]
	if key, ok := bytes.CutPrefix(reserved, keyWord); ok {
		bind, err = base64.StdEncoding.Strict().AppendDecode(nil, key)
		if err != nil || bytes.IndexByte(key, '\r') >= 0 {
			return nil, nil, nil, errReserved
		}
		if _, err = smp.ParseKey(bind); err != nil {
			return nil, nil, nil, errReserved
		}
		return reserved, client, bind, nil
	}
	for _, c := range reserved {
		if c < 0x21 || c > 0x7e { // *VCHAR
			return nil, nil, nil, errReserved
		}
	}
	return reserved, client, nil, nil
}

// joinBody makes a decryptedBody; bind, if any, goes in front as senderKeyMsg.
func joinBody(client, bind []byte) []byte {
	var b []byte
	if bind != nil {
		b = base64.StdEncoding.AppendEncode(append(b, keyWord...), bind)
	}
	b = append(b, '\n')
	b = append(b, client...)
	return append(b, '\n')
}
