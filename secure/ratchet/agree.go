package ratchet

import (
	"bytes"
	"crypto/ecdh"
)

// agreement is what both sides know after an Offer and an Answer.
type agreement struct {
	transcript [32]byte
	safety     [32]byte
	payload    [32]byte // key of the Answer's payload
	root       [32]byte // before turn 0
	header     [32]byte // key of the headers of turn 0
}

// agree computes it from the three X25519 secrets: answerer's identity with
// inviter's prekey, answerer's ratchet key with inviter's identity, and with
// inviter's prekey. head is the Answer's clear part.
func agree(d1, d2, d3, offer, head []byte) *agreement {
	a := &agreement{transcript: hash(labelTranscript, offer, head)}
	secret := bytes.Join([][]byte{d1, d2, d3}, nil)
	out := derive(secret, a.transcript[:], labelAgreement, 3*32)
	a.payload, a.root, a.header = [32]byte(out), [32]byte(out[32:]), [32]byte(out[64:])
	a.safety = safety(offer, head)
	return a
}

// safety hashes the identity keys, the smaller first, then the prekey and the
// answerer's ratchet key.
func safety(offer, head []byte) [32]byte {
	o, a := splitOffer(offer), splitAnswer(head)
	x, y := o.identity, a.identity
	if bytes.Compare(x, y) > 0 {
		x, y = y, x
	}
	return hash(labelSafety, x, y, o.prekey, a.ratchet)
}

// fingerprint is what an Introduction shows of an identity key.
func fingerprint(identity []byte) []byte {
	h := hash(labelIdentity, identity)
	return h[:]
}

type offerParts struct{ identity, prekey []byte }

// splitOffer cuts an Offer of the right length.
func splitOffer(p []byte) offerParts {
	return offerParts{p[1 : 1+keySize], p[1+keySize : offerSize]}
}

type answerParts struct{ identity, ratchet, kem, head, salt, box []byte }

// splitAnswer cuts an Answer, or its clear part.
func splitAnswer(p []byte) answerParts {
	a := answerParts{identity: p[1 : 1+keySize], ratchet: p[1+keySize : 1+2*keySize], kem: p[1+2*keySize : answerHead], head: p[:answerHead]}
	if len(p) > answerHead {
		a.salt, a.box = p[answerHead:answerHead+saltSize], p[answerHead+saltSize:]
	}
	return a
}

// checkOffer refuses what no honest inviter makes.
func checkOffer(p []byte) error {
	if len(p) != offerSize || p[0] != kindOffer {
		return malformed("an Offer has %d bytes and begins with %#x", offerSize, kindOffer)
	}
	o := splitOffer(p)
	if bytes.Equal(o.identity, o.prekey) {
		return malformed("identity key and prekey of the Offer are the same")
	}
	return checkPoints(o.identity, o.prekey)
}

// checkAnswer looks at the form only; agree and the payload's box do the rest.
func checkAnswer(p []byte) error {
	if len(p) == 0 || len(p)%PacketUnit != 0 || len(p) > maxAnswer || p[0] != kindAnswer {
		return malformed("an Answer has a multiple of %d bytes, at most %d, and begins with %#x", PacketUnit, maxAnswer, kindAnswer)
	}
	a := splitAnswer(p)
	if _, err := parseEncapsulationKey(a.kem); err != nil {
		return err
	}
	return checkPoints(a.identity, a.ratchet)
}

// checkPoints refuses points of low order: any private key shows them.
func checkPoints(points ...[]byte) error {
	probe := bytes.Repeat([]byte{1}, keySize)
	for _, p := range points {
		if _, err := dh(probe, p); err != nil {
			return err
		}
	}
	return nil
}

// publicOf returns the public half of a private key.
func publicOf(private []byte) ([]byte, error) {
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return nil, errState
	}
	return k.PublicKey().Bytes(), nil
}
