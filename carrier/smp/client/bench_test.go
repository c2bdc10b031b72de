package smpclient

import (
	"crypto/rand"
	"crypto/rsa"
	"testing"
)

// BenchmarkParsePrivate is what each key costs when Receive begins.
func BenchmarkParsePrivate(b *testing.B) {
	k, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		b.Fatal(err)
	}
	der, err := marshalPrivate(k)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := parsePrivate(der); err != nil {
			b.Fatal(err)
		}
	}
}
