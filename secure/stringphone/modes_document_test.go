package stringphone

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/nacl/secretbox"
)

// This file is docs/stringphone-modes.md once more, by the text alone: but for
// writeModes, nothing of the package is used.

const modesFile = "testdata/modes.json"

var updateModes = flag.Bool("update-modes", false, "write "+modesFile+" anew: a change of format")

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }
func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// modeVectors are one topic in one mode: alice, bob and carol share TopicKey. Alice
// says Text, removes carol (with her Rotation), and says Text again. In the
// forward-secret topic bob has announced his sealing key first.
type modeVectors struct {
	Mode                   uint8
	Name                   string
	Alice, Bob, Carol      hexBytes // seeds
	TopicKey               hexBytes
	Time                   int64 // Unix ms
	ID                     hexBytes
	Text                   string
	Announced              hexBytes // forward-secret: bob's
	BobSealing             hexBytes // its private key
	AliceAnnounced         hexBytes // forward-secret: alice's, in her chain before the message
	First, Rotation, After hexBytes
	Intro, IntroPrivate    hexBytes // dave's
	Reply                  hexBytes
	ReplyRotation          hexBytes // forward-secret: what lets dave in
	NewKey                 hexBytes // epoch key of Rotation: checked by the reader's own opening
}

func docID(public []byte) []byte { h := sha256.Sum256(public); return h[:16] }

func docPublic(seed []byte) []byte {
	return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
}

func docSum(parts ...[]byte) []byte {
	h := sha256.Sum256(slices.Concat(parts...))
	return h[:]
}

func be(n int, x uint64) []byte { return binary.BigEndian.AppendUint64(nil, x)[8-n:] }

// docMessage checks signature and sender of a packet and opens its box.
func docMessage(t *testing.T, packet, sender, key []byte) (nonce, plain []byte) {
	t.Helper()
	if packet[0] != 's' || !bytes.Equal(packet[65:81], docID(sender)) || !ed25519.Verify(sender, packet[65:], packet[1:65]) {
		t.Fatal("not the sender's packet")
	}
	n, k := [24]byte(packet[81:105]), [32]byte(key)
	plain, ok := secretbox.Open(nil, packet[105:], &n, &k)
	if !ok {
		t.Fatal("another key")
	}
	return n[:], plain
}

func docHeader(kind byte, sender []byte, topic string, epoch, counter, ms uint64) []byte {
	return slices.Concat([]byte("PSP1"), []byte{1, kind}, docID(sender), docSum([]byte("parley/stringphone topic\x00" + topic))[:16],
		be(4, epoch), be(8, counter), be(8, ms))
}

func docMAC(key []byte, b byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte{b})
	return h.Sum(nil)
}

// docChainKey is the message key of a member's message.
func docChainKey(epochKey []byte, topic string, epoch uint64, member []byte, index int) []byte {
	info := slices.Concat([]byte("parley/stringphone chain v1\x00"), be(4, epoch), docID(member))
	ck, err := hkdf.Key(sha256.New, epochKey, docSum([]byte("parley/stringphone topic\x00" + topic))[:16], string(info), 32)
	if err != nil {
		panic(err)
	}
	for range index {
		ck = docMAC(ck, 2)
	}
	return docMAC(ck, 1)
}

// docHPKE opens RFC 9180 base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
// ChaCha20-Poly1305.
func docHPKE(t *testing.T, private, enc, info, aad, box []byte) []byte {
	t.Helper()
	kem, suite := []byte("KEM\x00\x20"), []byte("HPKE\x00\x20\x00\x01\x00\x03")
	extract := func(id, salt []byte, label string, ikm []byte) []byte {
		prk, err := hkdf.Extract(sha256.New, slices.Concat([]byte("HPKE-v1"), id, []byte(label), ikm), salt)
		must(t, err)
		return prk
	}
	expand := func(id, prk []byte, label string, info []byte, n int) []byte {
		out, err := hkdf.Expand(sha256.New, prk, string(slices.Concat(be(2, uint64(n)), []byte("HPKE-v1"), id, []byte(label), info)), n)
		must(t, err)
		return out
	}
	sk, err := ecdh.X25519().NewPrivateKey(private)
	must(t, err)
	pk, err := ecdh.X25519().NewPublicKey(enc)
	must(t, err)
	dh, err := sk.ECDH(pk)
	must(t, err)
	shared := expand(kem, extract(kem, nil, "eae_prk", dh), "shared_secret", slices.Concat(enc, sk.PublicKey().Bytes()), 32)
	context := slices.Concat([]byte{0}, extract(suite, nil, "psk_id_hash", nil), extract(suite, nil, "info_hash", info))
	secret := extract(suite, shared, "secret", nil)
	aead, err := chacha20poly1305.New(expand(suite, secret, "key", context, 32))
	must(t, err)
	plain, err := aead.Open(nil, expand(suite, secret, "base_nonce", context, 12), box, aad)
	must(t, err)
	return plain
}

// docRotation reads a rotation's body and opens bob's part of it.
func docRotation(t *testing.T, v *modeVectors, body []byte, epoch uint64, removed [][]byte, private []byte, sealedTo ...[]byte) (key, sealing, added []byte) {
	t.Helper()
	alice, bob := docPublic(v.Alice), docPublic(v.Bob)
	take := func(n int) []byte { b := body[:n]; body = body[n:]; return b }
	if !bytes.Equal(take(4), be(4, epoch)) || take(1)[0] != v.Mode || binary.BigEndian.Uint16(take(2)) != uint16(len(removed)) {
		t.Fatal("the rotation begins otherwise")
	}
	for _, r := range removed {
		if !bytes.Equal(take(16), docID(r)) {
			t.Fatal("another is removed")
		}
	}
	added = take(128 * int(binary.BigEndian.Uint16(take(2))))
	sealing = take(32)
	if int(binary.BigEndian.Uint16(take(2))) != len(sealedTo) || len(body) != 112*len(sealedTo) {
		t.Fatal("it is sealed to another number of members")
	}
	for ; len(body) > 0; body = body[112:] {
		if !slices.ContainsFunc(sealedTo, func(k []byte) bool { return bytes.Equal(k, body[:32]) }) {
			t.Fatal("it is sealed to another")
		}
		if bytes.Equal(body[:32], bob) {
			info := slices.Concat([]byte("parley/stringphone rotation v1\x00"), docSum([]byte("parley/stringphone topic\x00" + v.Name))[:16], be(4, epoch), docID(alice))
			key = docHPKE(t, private, body[32:64], info, docID(bob), body[64:112])
		}
	}
	return key, sealing, added
}

// docReply opens the reply as dave, checks its signature, and reads what is behind.
func docReply(t *testing.T, v *modeVectors) (key, ext []byte) {
	t.Helper()
	alice := docPublic(v.Alice)
	r := v.Reply
	if r[0] != 'r' || !bytes.Equal(r[1:17], docID(v.Intro[1:33])) || !bytes.Equal(r[121:153], alice) {
		t.Fatal("another reply")
	}
	signed := slices.Concat([]byte("parley/stringphone signed reply v1\x00"), docSum(v.Intro), r[:153], r[217:])
	if !ed25519.Verify(alice, signed, r[153:217]) {
		t.Fatal("the reply is not signed as documented")
	}
	n, from, private := [24]byte(r[17:41]), [32]byte(r[89:121]), [32]byte(v.IntroPrivate)
	key, ok := box.Open(nil, r[41:89], &n, &from, &private)
	if !ok {
		t.Fatal("the reply does not open")
	}
	return key, r[217:]
}

func docKeys(keys ...[]byte) []byte {
	slices.SortFunc(keys[1:], func(a, b []byte) int { return bytes.Compare(docID(a), docID(b)) })
	return append(be(2, uint64(len(keys))), slices.Concat(keys...)...)
}

func TestModesDocument(t *testing.T) {
	if *updateModes {
		writeModes(t)
	}
	file, err := os.ReadFile(modesFile)
	must(t, err)
	var all []modeVectors
	must(t, json.Unmarshal(file, &all))
	if len(all) != 2 {
		t.Fatalf("%d topics", len(all))
	}
	for i := range all {
		t.Run(Mode(all[i].Mode).String(), func(t *testing.T) {
			if all[i].Mode == 1 {
				docHeaded(t, &all[i])
			} else {
				docForward(t, &all[i])
			}
		})
	}
}

func docSame(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %x, want %x", what, got, want)
	}
}

func docHeaded(t *testing.T, v *modeVectors) {
	alice, ms := docPublic(v.Alice), uint64(v.Time)
	nonce, plain := docMessage(t, v.First, alice, v.TopicKey)
	docSame(t, "ID", nonce[:16], v.ID)
	docSame(t, "epoch in the nonce", nonce[16:17], []byte{0})
	docSame(t, "first", plain, append(docHeader(0, alice, v.Name, 0, ms, ms), v.Text...))
	_, plain = docMessage(t, v.Rotation, alice, v.TopicKey)
	docSame(t, "rotation", plain[:58], docHeader(1, alice, v.Name, 0, ms+1, ms))
	// Bob's X25519 key is that of his identity.
	h := sha512.Sum512(v.Bob)
	key, sealing, added := docRotation(t, v, plain[58:], 1, [][]byte{docPublic(v.Carol)}, h[:32], docPublic(v.Bob))
	docSame(t, "sealing key", sealing, make([]byte, 32))
	docSame(t, "added", added, nil)
	docSame(t, "new key", key, v.NewKey)
	nonce, plain = docMessage(t, v.After, alice, key)
	docSame(t, "epoch in the nonce", nonce[16:17], []byte{1})
	docSame(t, "after", plain, append(docHeader(0, alice, v.Name, 1, ms+2, ms), v.Text...))
	got, ext := docReply(t, v)
	docSame(t, "key in the reply", got, key)
	docSame(t, "extension", ext, slices.Concat([]byte{1, 1}, be(4, 1), docSum(v.Rotation[65:]), make([]byte, 32),
		docKeys(alice, docPublic(v.Bob), v.Intro[1:33]), be(2, 1), docID(docPublic(v.Carol))))
}

func docForward(t *testing.T, v *modeVectors) {
	alice, bob, ms := docPublic(v.Alice), docPublic(v.Bob), uint64(v.Time)
	open := func(packet, sender, epochKey []byte, epoch uint64, index int) (nonce, plain []byte) {
		t.Helper()
		nonce, plain = docMessage(t, packet, sender, docChainKey(epochKey, v.Name, epoch, sender, index))
		docSame(t, "epoch and index in the nonce", nonce[:4], append([]byte{byte(epoch)}, be(3, uint64(index))...))
		return nonce, plain
	}
	bobKey, err := ecdh.X25519().NewPrivateKey(v.BobSealing)
	must(t, err)
	_, plain := open(v.Announced, bob, v.TopicKey, 0, 0)
	docSame(t, "announcement", plain, slices.Concat(docHeader(2, bob, v.Name, 0, ms, ms), be(2, 0), bobKey.PublicKey().Bytes()))
	_, plain = open(v.AliceAnnounced, alice, v.TopicKey, 0, 0)
	docSame(t, "announcement", plain[:58], docHeader(2, alice, v.Name, 0, ms, ms))
	nonce, plain := open(v.First, alice, v.TopicKey, 0, 1)
	docSame(t, "ID", nonce[8:], v.ID)
	docSame(t, "first", plain, append(docHeader(0, alice, v.Name, 0, ms+1, ms), v.Text...))
	_, plain = open(v.Rotation, alice, v.TopicKey, 0, 2)
	docSame(t, "rotation", plain[:58], docHeader(1, alice, v.Name, 0, ms+2, ms))
	key, sealing, _ := docRotation(t, v, plain[58:], 1, [][]byte{docPublic(v.Carol)}, v.BobSealing, bob)
	docSame(t, "new key", key, v.NewKey)
	nonce, plain = open(v.After, alice, key, 1, 0)
	docSame(t, "ID", nonce[8:], v.ID)
	docSame(t, "after", plain, append(docHeader(0, alice, v.Name, 1, ms+3, ms), v.Text...))

	// Dave comes in with a rotation of his own.
	_, plain = open(v.ReplyRotation, alice, key, 1, 1)
	next, again, added := docRotation(t, v, plain[58:], 2, nil, v.BobSealing, bob, v.Intro[1:33])
	docSame(t, "alice's sealing key", again, sealing)
	docSame(t, "added", added, slices.Concat(v.Intro[1:33], v.Intro[97:], v.Intro[33:97]))
	got, ext := docReply(t, v)
	docSame(t, "key in the reply", got, next)
	docSame(t, "extension", ext, slices.Concat([]byte{1, 2}, be(4, 2), docSum(v.ReplyRotation[65:]), sealing,
		docKeys(alice, bob, v.Intro[1:33]), be(2, 1), docID(docPublic(v.Carol))))
}

// writeModes makes the vectors with the package.
func writeModes(t *testing.T) {
	var all []modeVectors
	for _, mode := range headed {
		v := modeVectors{
			Mode: uint8(mode), Name: "home/kitchen", Time: 1_700_000_000_000, Text: "22.5 C", TopicKey: bytes.Repeat([]byte{7}, 32),
			Alice: bytes.Repeat([]byte("a"), 32), Bob: bytes.Repeat([]byte("b"), 32), Carol: bytes.Repeat([]byte("c"), 32),
			ID: []byte("0123456789abcdef"),
		}
		now := time.UnixMilli(v.Time)
		var trust []ed25519.PublicKey
		for _, s := range []hexBytes{v.Alice, v.Bob, v.Carol} {
			trust = append(trust, docPublic(s))
		}
		make := func(seed hexBytes) *peer {
			p := newPeer(t, "x", Setup{Seed: seed, TopicKey: v.TopicKey, Mode: mode, Name: v.Name, Trust: trust})
			p.now = now
			return p
		}
		a, b := make(v.Alice), make(v.Bob)
		if mode == ForwardSecret {
			b.seal(1, "")
			v.Announced = b.posted()[0]
			must(t, b.m.do(now, func(d *draft) error {
				k := d.sealingKeys()[0]
				v.BobSealing = k[:]
				return nil
			}))
			a.quiet(v.Announced)
		}
		v.First = a.sealID([16]byte(v.ID), v.Text)
		if mode == ForwardSecret {
			v.AliceAnnounced = a.posted()[0]
		}
		must(t, a.m.Remove(now, IDOf(trust[2])))
		v.Rotation = a.posted()[0]
		b.quiet(v.Rotation)
		v.After = a.sealID([16]byte(v.ID), v.Text)
		if mode == Headed {
			k := keyNow(t, b)
			v.NewKey = k[:]
		} else {
			must(t, b.m.do(now, func(d *draft) error { return nil }))
			r, err := parseRotation(openAs(t, v.Rotation, v.TopicKey, v.Name))
			must(t, err)
			k, ok := openEpochKey(v.BobSealing, rotationInfo(topicHash(v.Name), 1, id(a)), id(b), r.keysOf(trust[1])[0])
			if !ok {
				t.Fatal("bob's part does not open")
			}
			v.NewKey = k[:]
		}
		d := newPeer(t, "dave", Setup{Name: v.Name})
		intro, err := d.m.Introduce(now)
		must(t, err)
		v.Intro = intro
		v.IntroPrivate = d.b.Get(introRow)[1:33]
		v.Reply, err = a.m.Admit(now, intro)
		must(t, err)
		if mode == ForwardSecret {
			v.ReplyRotation = a.posted()[0]
		}
		all = append(all, v)
	}
	b, err := json.MarshalIndent(all, "", "\t")
	must(t, err)
	must(t, os.WriteFile(modesFile, append(b, '\n'), 0o644))
}

// openAs opens alice's third packet of a forward-secret topic.
func openAs(t *testing.T, packet, key []byte, name string) []byte {
	alice := packet[65:81]
	first, err := firstKeys([32]byte(key), topicHash(name), 0, []ID{ID(alice)})
	must(t, err)
	ck := first[0]
	var mk [32]byte
	for range 3 {
		mk, ck = chainStep(ck)
	}
	plain, ok := openBox(packet, &mk)
	if !ok {
		t.Fatal("it does not open")
	}
	return plain[HeaderSize:]
}
