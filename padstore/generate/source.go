package generate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/cpu"

	"parley/secure/otp"
)

// A Source is where random bytes come from.
type Source struct {
	// Name is "random" for /dev/random, "urandom" for the system's generator, else the
	// path of a file or of a character device such as /dev/hwrng.
	Name string
	// Assessed: the owner says that it is a physical source, or a recording of one, and
	// that somebody has assessed it. No generator of a computer can be.
	Assessed bool
}

// Names of the system's generator, and kinds of sources as a pad's header has them.
const (
	Random  = "random"
	Urandom = "urandom"
	file    = "file"
	device  = "device"
)

var (
	// ErrSource means that a source cannot be used at all: what is no file, what is too
	// short, what is there twice.
	ErrSource = errors.New("this source cannot be used")
	// ErrEqual means that two sources have given the same bytes: their XOR is zero.
	ErrEqual = errors.New("two sources are the same")
)

// opened is a source that can be read.
type opened struct {
	otp.Source
	r  io.Reader
	f  *os.File    // nil: the system's generator
	st fs.FileInfo // of a file or a device
}

func (o *opened) close() {
	if o.f != nil {
		o.f.Close()
	}
}

const passedTests = "SP 800-90B repetition count (9) and adaptive proportion (26 of 512)"

func open(s Source, need int64) (*opened, error) {
	o := &opened{Source: otp.Source{Kind: s.Name, Name: s.Name, Assessed: s.Assessed, Tests: passedTests}}
	path := s.Name
	switch s.Name {
	case Urandom:
	case Random:
		path = "/dev/random"
	default:
		st, err := os.Stat(s.Name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSource, err)
		}
		o.st = st
		switch {
		case sameAs(st, "/dev/random"):
			o.Kind, path = Random, "/dev/random"
		case sameAs(st, "/dev/urandom"):
			o.Kind = Urandom
		case st.Mode().IsRegular():
			o.Kind = file
			if st.Size() < need {
				return nil, fmt.Errorf("%w: %s has %d bytes, and %d are needed", ErrSource, s.Name, st.Size(), need)
			}
		case st.Mode()&fs.ModeCharDevice != 0:
			o.Kind = device
		default:
			return nil, fmt.Errorf("%w: %s is neither a file nor a character device: record it in a file first", ErrSource, s.Name)
		}
	}
	if s.Assessed && (o.Kind == Random || o.Kind == Urandom) {
		return nil, fmt.Errorf("%w as an assessed one: %s is a generator of this computer, not a physical source", ErrSource, s.Name)
	}
	if o.Kind == Urandom {
		o.r, o.Name = system()
		return o, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	o.r, o.f, o.Name = f, f, strings.ToValidUTF8(path, "\uFFFD")
	return o, nil
}

// sameAs reports whether st is the file at path, or another node of its device.
func sameAs(st fs.FileInfo, path string) bool {
	other, err := os.Stat(path)
	return err == nil && same(st, other)
}

func same(a, b fs.FileInfo) bool { return os.SameFile(a, b) || sameDevice(a, b) }

// openAll opens every source, and refuses what is there twice.
func openAll(sources []Source, need int64) (all []*opened, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	if len(sources) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrSource)
	}
	for _, s := range sources {
		o, err := open(s, need)
		if err != nil {
			return all, err
		}
		for _, other := range all {
			twice := o.Kind == other.Kind && (o.Kind == Random || o.Kind == Urandom)
			if twice || o.st != nil && other.st != nil && same(o.st, other.st) {
				o.close()
				return all, fmt.Errorf("%w: %s was given twice", ErrEqual, s.Name)
			}
		}
		all = append(all, o)
	}
	return all, nil
}

func closeAll(all []*opened) {
	for _, o := range all {
		o.close()
	}
}

// system is the system's generator, as fast as can be. Where the processor has AES, each
// 64 KiB are AES-256 in counter mode under a key of their own from the system: that is
// what the system does too, with ChaCha20, at a fraction of the speed. Neither is more
// than computationally secure.
func system() (r io.Reader, name string) {
	if cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES {
		return stretched{}, "the system's generator, stretched by AES-256-CTR"
	}
	return rand.Reader, "the system's generator"
}

type stretched struct{}

// stretch is how many bytes one key makes: what SP 800-90A allows for one request.
const stretch = 64 << 10

func (stretched) Read(p []byte) (int, error) {
	clear(p)
	for rest := p; len(rest) > 0; {
		n := min(len(rest), stretch)
		var seed [32 + aes.BlockSize]byte
		if _, err := rand.Read(seed[:]); err != nil {
			return 0, err
		}
		block, err := aes.NewCipher(seed[:32])
		if err != nil {
			return 0, err
		}
		cipher.NewCTR(block, seed[32:]).XORKeyStream(rest[:n], rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}
