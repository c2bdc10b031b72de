package smpserver

import (
	"bufio"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"parley/carrier/smp"
)

const (
	pemBegin = "-----BEGIN PUBLIC KEY-----"
	pemEnd   = "-----END PUBLIC KEY-----"
)

// ParseCreators reads the public keys of those who may create queues: one in
// base64 (SPKI DER, as in CONN) on each line, or PEM blocks "PUBLIC KEY". Empty
// lines and lines that begin with # are passed over. A file without keys is an
// error: it would let nobody in, or, taken for none, everybody.
func ParseCreators(r io.Reader) ([]*rsa.PublicKey, error) {
	var keys []*rsa.PublicKey
	var pem strings.Builder
	inPEM := false
	lines := bufio.NewScanner(r)
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimSpace(lines.Text())
		switch {
		case text == pemBegin && !inPEM:
			inPEM = true
			pem.Reset()
			continue
		case text == pemEnd && inPEM:
			inPEM, text = false, pem.String()
		case inPEM:
			if pem.Len() > 4096 {
				return nil, fmt.Errorf("line %d: a PEM block without end", n)
			}
			pem.WriteString(text)
			continue
		case text == "" || text[0] == '#':
			continue
		}
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: not base64", n)
		}
		k, err := smp.ParseKey(der)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(keys) == MaxCreators {
			return nil, fmt.Errorf("line %d: more than %d keys", n, MaxCreators)
		}
		keys = append(keys, k)
	}
	switch {
	case lines.Err() != nil:
		return nil, fmt.Errorf("line %d: %w", n+1, lines.Err())
	case inPEM:
		return nil, errors.New("a PEM block without end")
	case len(keys) == 0:
		return nil, errors.New("no key in it")
	}
	return keys, nil
}
