package ratchet

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// This file is docs/ratchet.md once more, by the text alone: nothing of the
// package is used but the vectors' type.

func docL(x string) string { return "parley ratchet 1 " + x }

func docH(parts ...[]byte) []byte {
	h := sha256.Sum256(bytes.Join(parts, nil))
	return h[:]
}

func docHKDF(ikm, salt []byte, info string, n int) []byte {
	b, err := hkdf.Key(sha256.New, ikm, salt, info, n)
	if err != nil {
		panic(err)
	}
	return b
}

func docHMAC(k []byte, b byte) []byte {
	h := hmac.New(sha256.New, k)
	h.Write([]byte{b})
	return h.Sum(nil)
}

func docBox(key, salt []byte, label string, plain, extra []byte) []byte {
	k := docHKDF(key, salt, label, 44)
	c, _ := aes.NewCipher(k[:32])
	a, _ := cipher.NewGCM(c)
	return a.Seal(nil, k[32:], plain, extra)
}

func docPad(m []byte, n int) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(m))), m...), make([]byte, n-4-len(m))...)
}

func docUnits(n int) int {
	u := 3328
	for u < n {
		u += 3328
	}
	return u
}

func docKey(b []byte) *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		panic(err)
	}
	return k
}

func docDH(k *ecdh.PrivateKey, p *ecdh.PublicKey) []byte {
	s, err := k.ECDH(p)
	if err != nil {
		panic(err)
	}
	return s
}

// TestDocument makes all packets of the vectors as docs/ratchet.md says.
func TestDocument(t *testing.T) {
	file, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	h := v.Handshake
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Fatalf("%s: %x, want %x", what, got, want)
		}
	}

	ika, epka := docKey(h.OfferRandom[:32]), docKey(h.OfferRandom[32:])
	offer := slices.Concat([]byte{0x11}, ika.PublicKey().Bytes(), epka.PublicKey().Bytes())
	same("offer", offer, h.Offer)

	ikb, ekb := docKey(h.AnswerRandom[:32]), docKey(h.AnswerRandom[32:64])
	kem, err := mlkem.NewDecapsulationKey768(h.AnswerRandom[64:128])
	if err != nil {
		t.Fatal(err)
	}
	salt := h.AnswerRandom[128:]
	head := slices.Concat([]byte{0x12}, ikb.PublicKey().Bytes(), ekb.PublicKey().Bytes(), kem.EncapsulationKey().Bytes())
	transcript := docH([]byte(docL("transcript")), offer, head)
	secret := slices.Concat(docDH(ikb, epka.PublicKey()), docDH(ekb, ika.PublicKey()), docDH(ekb, epka.PublicKey()))
	keys := docHKDF(secret, transcript, docL("agreement"), 96)
	same("transcript", transcript, h.Transcript)
	same("payload key", keys[:32], h.PayloadKey)
	size := docUnits(1265 + 4 + len(h.Payload) + 16)
	box := docBox(keys[:32], salt, docL("payload"), docPad(h.Payload, size-1265-16), head)
	same("answer", slices.Concat(head, salt, box), h.Answer)
	small, large := ika.PublicKey().Bytes(), ikb.PublicKey().Bytes()
	if bytes.Compare(small, large) > 0 {
		small, large = large, small
	}
	same("safety number", docH([]byte("parley ratchet 1 safety number"), small, large, epka.PublicKey().Bytes(), ekb.PublicKey().Bytes()), h.SafetyNumber)
	same("fingerprint", docH([]byte(docL("identity")), ika.PublicKey().Bytes()), h.FingerprintA)

	root := keys[32:64]
	headers := map[uint64][]byte{0: keys[64:]}
	last := ekb                                     // the key of the turn before
	offered := kem                                  // the KEM key to answer
	sent := map[bool]uint32{}                       // per side, in its newest chain
	chains, heads := map[bool][]byte{}, [2][]byte{} // per side
	next := uint64(0)
	for i, m := range v.Messages {
		random := []byte(m.Random)
		take := func(n int) []byte {
			b := random[:n]
			random = random[n:]
			return b
		}
		side := 1
		if m.Inviter {
			side = 0
		}
		if m.Turn == next {
			key := docKey(take(32))
			kind, field, kemSecret := byte(0), []byte(nil), []byte(nil)
			switch {
			case next == 0 || next%3 == 2:
				kind = 2
				kemSecret, field, err = mlkemtest.Encapsulate768(offered.EncapsulationKey(), take(32))
			case next%3 == 1:
				kind = 1
				if offered, err = mlkem.NewDecapsulationKey768(take(64)); err == nil {
					field = offered.EncapsulationKey().Bytes()
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			chainHead := binary.BigEndian.AppendUint32(key.PublicKey().Bytes(), sent[m.Inviter])
			chainHead = append(append(chainHead, kind), field...)
			chainHead = append(chainHead, make([]byte, 37+1184-len(chainHead))...)
			info := slices.Concat([]byte(docL("root")), transcript, binary.BigEndian.AppendUint64(nil, next), docH(chainHead))
			out := docHKDF(slices.Concat(docDH(key, last.PublicKey()), kemSecret), root, string(info), 128)
			root, chains[m.Inviter], headers[next+2] = out[:32], out[32:64], out[64:96]
			if next == 0 {
				headers[1] = out[96:]
			}
			same("root", root, m.Root)
			last, heads[side] = key, chainHead
			sent[m.Inviter] = 0
			next++
		}
		n := sent[m.Inviter]
		same("chain key", chains[m.Inviter], m.ChainKey)
		messageKey := docHMAC(chains[m.Inviter], 1)
		chains[m.Inviter] = docHMAC(chains[m.Inviter], 2)
		sent[m.Inviter]++
		same("message key", messageKey, m.MessageKey)

		plain := append([]byte{1}, m.ID...)
		plain = append(append(plain, byte(len(m.Group))), m.Group...)
		plain = binary.BigEndian.AppendUint16(plain, uint16(m.AMP[0]))
		plain = binary.BigEndian.AppendUint16(plain, uint16(m.AMP[1]))
		plain = binary.BigEndian.AppendUint32(plain, m.Seq)
		plain = binary.BigEndian.AppendUint64(plain, uint64(m.Sent))
		plain = append(plain, m.Body...)
		same("plain", plain, m.Plain)

		headSalt, bodySalt := take(16), take(16)
		header := binary.BigEndian.AppendUint32(slices.Clone(heads[side]), n)
		size := docUnits(1274 + 4 + len(plain) + 16)
		bodyBox := docBox(messageKey, bodySalt, docL("body"), docPad(plain, size-1274-16), slices.Concat([]byte{0x13}, transcript, header))
		headBox := docBox(headers[m.Turn], headSalt, docL("header"), header, slices.Concat([]byte{0x13}, transcript, docH(bodySalt, bodyBox)))
		packet := slices.Concat([]byte{0x13}, headSalt, headBox, bodySalt, bodyBox)
		if !bytes.Equal(packet, m.Packet) || len(random) != 0 {
			t.Fatalf("message %d of turn %d is another packet", i, m.Turn)
		}
		once := docH([]byte(docL("chain")), transcript, binary.BigEndian.AppendUint64(nil, m.Turn), heads[side])[:16]
		same("once", binary.BigEndian.AppendUint32(once, n), m.Once)
	}
}
