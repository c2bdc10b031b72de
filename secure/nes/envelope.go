package nes

import (
	"encoding/base64"

	"parley/internal/jsonobject"
	"parley/internal/rsakey"
)

// envelope is the outer object, its members decoded.
type envelope struct {
	cipherkey  []byte // RSA PKCS #1 v1.5 of AES key and IV
	ciphertext []byte // AES-256-CBC
	signature  []byte // RSA-PSS over the plaintext
}

// marshal returns the envelope as the original writes it.
func (e *envelope) marshal() []byte {
	length := func(b []byte) int { return (len(b) + 2) / 3 * 4 }
	out := make([]byte, 0, len(beforeCipherkey+beforeCiphertext+beforeSignature+closing)+length(e.cipherkey)+length(e.ciphertext)+length(e.signature))
	out = base64.URLEncoding.AppendEncode(append(out, beforeCipherkey...), e.cipherkey)
	out = base64.URLEncoding.AppendEncode(append(out, beforeCiphertext...), e.ciphertext)
	out = base64.URLEncoding.AppendEncode(append(out, beforeSignature...), e.signature)
	return append(out, closing...)
}

// parseEnvelope reads an envelope. Everything that can be wrong before a private key is
// used is found here: [parley.ErrMalformed].
func parseEnvelope(b []byte) (e envelope, err error) {
	if len(b) > MaxEnvelope {
		return e, malformed("an envelope of %d bytes, at most %d", len(b), MaxEnvelope)
	}
	text, err := members(b)
	if err != nil {
		return e, err
	}
	for i, to := range []*[]byte{&e.cipherkey, &e.ciphertext, &e.signature} {
		if *to, err = rsakey.DecodeBase64(text[i]); err != nil {
			return envelope{}, malformed("%s is not URL-safe base64", memberNames[i])
		}
	}
	switch {
	case len(e.cipherkey) == 0 || len(e.cipherkey) > maxKey:
		return envelope{}, malformed("a cipherkey of %d bytes", len(e.cipherkey))
	case len(e.ciphertext) == 0 || len(e.ciphertext)%blockSize != 0 || len(e.ciphertext) > maxPlain+blockSize:
		return envelope{}, malformed("a ciphertext of %d bytes", len(e.ciphertext))
	case len(e.signature) == 0 || len(e.signature) > maxKey:
		return envelope{}, malformed("a signature of %d bytes", len(e.signature))
	}
	return e, nil
}

var memberNames = [3]string{"cipherkey", "ciphertext", "signature"}

// members returns the three members' texts.
func members(b []byte) (text [3]string, err error) {
	if usualEnvelope(b, &text) {
		return text, nil
	}
	if !modest(b) {
		return text, malformed("an envelope of more than %d parts", maxParts)
	}
	o, err := jsonobject.Parse(b)
	if err != nil {
		return text, malformed("the envelope is not one JSON object")
	}
	if lookalike(o, memberNames[:]...) {
		return text, malformed("a member of the envelope is named almost like another")
	}
	for i, name := range memberNames {
		if text[i], err = o.String(name); err != nil {
			return text, malformed("the envelope has no text %q", name)
		}
	}
	return text, nil
}

// maxParts is how many members and elements an envelope or a plaintext may have in all.
const maxParts = 1000

// modest reports whether a text has no more than that. Anybody can send one of two
// megabytes with 150,000 members, which would keep the general parser busy for half a
// second, as long as hundreds of messages.
func modest(b []byte) bool {
	inside, parts := false, 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inside = !inside
		case inside && c == '\\':
			i++
		case !inside && (c == ',' || c == '{' || c == '['):
			if parts++; parts > maxParts {
				return false
			}
		}
	}
	return true
}
