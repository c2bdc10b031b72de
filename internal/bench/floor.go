package bench

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Sizes of the transport (docs/smp-2020.md): a block is a 16-byte tag and the
// ciphertext, and the base IV has 16 bytes.
const (
	blockSize = 4096
	tagSize   = 16
	ivSize    = 16
)

// Work is what a relay cannot avoid for one message: SEND, its delivery and ACK.
type Work struct {
	Verifications int     `json:"verifications"` // RSA-PSS, 2048 bits, with the SHA-256 of what is signed
	BlocksIn      float64 `json:"blocks_in"`     // blocks of 4096 bytes to open
	BlocksOut     float64 `json:"blocks_out"`    // and to seal
	Syncs         int     `json:"syncs"`         // records that must be on disk before the reply, one for SEND, one for ACK
	SendRecord    int     `json:"send_record"`   // bytes of the record that SEND makes
	AckRecord     int     `json:"ack_record"`    // and of the one that ACK makes
	Signed        int     `json:"signed"`        // bytes under SEND's signature
	SignedAck     int     `json:"signed_ack"`    // bytes under ACK's signature
}

// workFor is the work for bodies of size bytes when the relay was seen to
// answer with that many blocks for each message.
func workFor(size int, blocksIn, blocksOut float64) Work {
	return Work{
		Verifications: 2, BlocksIn: blocksIn, BlocksOut: blocksOut, Syncs: 2,
		SendRecord: size + 32, // queue, sequence number, time
		AckRecord:  24,        // queue, sequence number
		Signed:     size + 36, // ID in base64, LF, SEND, size
		SignedAck:  28,
	}
}

// A blockCipher seals and opens the blocks of one direction, as the transport
// does: AES-256-GCM, a 16-byte IV whose first 32 bits are XORed with a counter.
type blockCipher struct {
	aead cipher.AEAD
	base [ivSize]byte
	n    uint32
}

func newBlockCipher(key, iv []byte) (*blockCipher, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithNonceSize(b, ivSize)
	if err != nil {
		return nil, err
	}
	return &blockCipher{aead: aead, base: [ivSize]byte(iv)}, nil
}

func (c *blockCipher) iv() [ivSize]byte {
	iv := c.base
	binary.BigEndian.PutUint32(iv[:], binary.BigEndian.Uint32(iv[:])^c.n)
	c.n++
	return iv
}

// seal makes the block of plain, which must have room for the tag behind it.
// The tag stays at the end: where it stands costs nothing, and this is a floor.
func (c *blockCipher) seal(plain []byte) []byte {
	iv := c.iv()
	return c.aead.Seal(plain[:0], iv[:], plain, nil)
}

func (c *blockCipher) open(block []byte) ([]byte, error) {
	iv := c.iv()
	return c.aead.Open(block[:0], iv[:], block, nil)
}

// A floor does the work of relays bare: no parsing, no queues, no bookkeeping.
type floor struct {
	work Work
	log  *commitLog
	key  *rsa.PublicKey
	// Two signed texts, each signed once: the signer is the client.
	send, ack       []byte
	sendSig, ackSig []byte
}

func newFloor(dir string, work Work) (*floor, error) {
	f := &floor{work: work, send: make([]byte, work.Signed), ack: make([]byte, work.SignedAck)}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	f.key = &key.PublicKey
	for _, t := range []struct {
		text []byte
		sig  *[]byte
	}{{f.send, &f.sendSig}, {f.ack, &f.ackSig}} {
		if _, err := rand.Read(t.text); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(t.text)
		opt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		if *t.sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], opt); err != nil {
			return nil, err
		}
	}
	if f.log, err = openLog(dir); err != nil {
		return nil, fmt.Errorf("the floor's log: %w", err)
	}
	return f, nil
}

func (f *floor) Close() error { return f.log.Close() }

func (f *floor) verify(text, sig []byte) error {
	sum := sha256.Sum256(text)
	return rsa.VerifyPSS(f.key, crypto.SHA256, sum[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
}

// A lane is the bare work of one connection.
type lane struct {
	*floor
	in, out         *blockCipher
	owedIn, owedOut owed
	block           []byte
	record          []byte
	sealedInput     []byte
}

func (f *floor) lane(secret []byte) (*lane, error) {
	if len(secret) != 2*(32+ivSize) {
		return nil, errors.New("a lane needs two keys and two IVs")
	}
	in, err1 := newBlockCipher(secret[:32], secret[32:48])
	out, err2 := newBlockCipher(secret[48:80], secret[80:96])
	return &lane{floor: f, in: in, out: out, block: make([]byte, blockSize), record: make([]byte, max(f.work.SendRecord, f.work.AckRecord))}, errors.Join(err1, err2)
}

// sends does the work of a SEND whose block was opened, acks that of an ACK.
func (l *lane) sends() error {
	if err := l.verify(l.send, l.sendSig); err != nil {
		return err
	}
	return l.log.Append(l.record[:l.work.SendRecord])
}

func (l *lane) acks() error {
	if err := l.verify(l.ack, l.ackSig); err != nil {
		return err
	}
	return l.log.Append(l.record[:l.work.AckRecord])
}

// owed adds up parts of a block until they make a whole one.
type owed float64

func (o *owed) take(n float64) int {
	*o += owed(n)
	k := int(*o + 1e-9)
	*o -= owed(k)
	return k
}

// BareResult is what the bare work reached.
type BareResult struct {
	Messages uint64        `json:"messages"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	CPU      time.Duration `json:"cpu_ns"`
}

// PerSecond is the rate of messages.
func (r BareResult) PerSecond() float64 { return float64(r.Messages) / r.Elapsed.Seconds() }

func (r *BareResult) merge(o BareResult) {
	r.Messages += o.Messages
	r.Elapsed += o.Elapsed
	r.CPU += o.CPU
}

// bare does the work of n connections at once for d: the floor that the ratio
// is taken of. No sockets, no client.
func (f *floor) bare(n int, d time.Duration) (BareResult, error) {
	lanes := make([]*lane, n)
	for i := range lanes {
		secret := make([]byte, 2*(32+ivSize))
		if _, err := io.ReadFull(rand.Reader, secret); err != nil {
			return BareResult{}, err
		}
		l, err := f.lane(secret)
		if err != nil {
			return BareResult{}, err
		}
		// What comes in is always this block: sealed once, opened each time.
		l.sealedInput = l.in.seal(make([]byte, blockSize-tagSize, blockSize))
		lanes[i] = l
	}
	before, _ := ownUsage() // without it the rate is still right
	begin := time.Now()
	counts, errs := make([]uint64, n), make([]error, n)
	var wg sync.WaitGroup
	for i, l := range lanes {
		wg.Go(func() {
			for time.Since(begin) < d && errs[i] == nil {
				if errs[i] = l.message(); errs[i] == nil {
					counts[i]++
				}
			}
		})
	}
	wg.Wait()
	r := BareResult{Elapsed: time.Since(begin)}
	after, _ := ownUsage()
	r.CPU = after.CPU - before.CPU
	for _, c := range counts {
		r.Messages += c
	}
	return r, errors.Join(errs...)
}

// message does everything for one message: both blocks in, both checks, both
// records to disk, the blocks out.
func (l *lane) message() error {
	for k := l.owedIn.take(l.work.BlocksIn); k > 0; k-- {
		l.in.n = 0
		copy(l.block, l.sealedInput)
		if _, err := l.in.open(l.block); err != nil {
			return err
		}
	}
	if err := l.sends(); err != nil {
		return err
	}
	if err := l.acks(); err != nil {
		return err
	}
	for k := l.owedOut.take(l.work.BlocksOut); k > 0; k-- {
		l.out.seal(l.block[:blockSize-tagSize])
	}
	return nil
}
