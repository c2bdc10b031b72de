package nes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// Sizes in bytes: of AES-256's key, of a block and the IV, and of both together, which
// is what cipherkey holds.
const (
	keySize      = 32
	blockSize    = aes.BlockSize
	materialSize = keySize + blockSize
)

// encrypt pads (PKCS #7, RFC 5652 §6.3) and encrypts under key ‖ IV.
func encrypt(material, plaintext []byte) []byte {
	n := blockSize - len(plaintext)%blockSize
	out := make([]byte, len(plaintext)+n)
	for i := copy(out, plaintext); i < len(out); i++ {
		out[i] = byte(n)
	}
	cipher.NewCBCEncrypter(block(material), material[keySize:]).CryptBlocks(out, out)
	return out
}

// decrypt undoes that; the length must be whole blocks and not 0. good is 1 if the
// padding is right in every byte, else 0, and then only the last block is taken off: the
// caller goes on in both cases, so that it takes the same time.
func decrypt(material, ciphertext []byte) (plaintext []byte, good int) {
	out := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(block(material), material[keySize:]).CryptBlocks(out, ciphertext)
	n, good := padding(out[len(out)-blockSize:])
	return out[:len(out)-n], good
}

// padding returns how long the padding in a last block is, without taking longer for one
// than for another.
func padding(last []byte) (n, good int) {
	n = int(last[blockSize-1])
	good = subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, blockSize)
	for i := range blockSize {
		inside := subtle.ConstantTimeLessOrEq(blockSize-i, n)
		good &= (1 - inside) | subtle.ConstantTimeByteEq(last[i], byte(n))
	}
	return subtle.ConstantTimeSelect(good, n, blockSize), good
}

func block(material []byte) cipher.Block {
	c, err := aes.NewCipher(material[:keySize])
	if err != nil {
		panic(err) // of no key of 32 bytes
	}
	return c
}
