package builtin

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"parley"
	"parley/carrier/relay"
	"parley/messenger"
	"parley/paddevice/client"
	"parley/padstore"
	"parley/secure/otp"
)

// A PadSetup says where a pad is kept: in a file here, or on a device.
type PadSetup struct {
	File   string      `json:"file,omitempty"`   // the .pad, .random.store or .random.metadata file
	Device string      `json:"device,omitempty"` // the file of a pairing with a device
	Self   parley.Name `json:"self,omitempty"`   // on a device: whose pad
	Peer   parley.Name `json:"peer,omitempty"`   // and with whom
	Marks  string      `json:"marks,omitempty"`  // see [padstore.Options]
}

// MarshalPadSetup returns the setup that [messenger.Messenger.AddPad] takes. Paths are
// made absolute.
func MarshalPadSetup(s PadSetup) ([]byte, error) {
	for _, p := range []*string{&s.File, &s.Device, &s.Marks} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, err
		}
		*p = abs
	}
	if (s.File == "") == (s.Device == "") {
		return nil, fmt.Errorf("%w: a pad is in a file or on a device", messenger.ErrState)
	}
	return json.Marshal(s)
}

// pads implements [messenger.Pads].
type pads struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	open   map[string]*padFront // by setup
	again  func()
	soon   bool // again is about to be called
	closed bool
}

var _ messenger.Pads = (*pads)(nil)

func newPads() *pads {
	p := &pads{open: map[string]*padFront{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// padKey is where a line's state has its setup.
const padKey = "pad"

func (p *pads) front(setup []byte) (*padFront, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.open[string(setup)]; f != nil {
		return f, nil
	}
	var s PadSetup
	if err := json.Unmarshal(setup, &s); err != nil || (s.File == "") == (s.Device == "") {
		return nil, fmt.Errorf("%w: the line does not say where its pad is", parley.ErrNoKey)
	}
	f := &padFront{p: p, setup: s, calls: map[string]*padCall{}}
	p.open[string(setup)] = f
	return f, nil
}

func (p *pads) of(state parley.Bucket) (*padFront, error) { return p.front(state.Get(padKey)) }

// close ends what is asked of devices, and closes the files.
func (p *pads) close() (err error) {
	p.cancel()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, f := range p.open {
		if e := f.close(); err == nil {
			err = e
		}
	}
	p.open = map[string]*padFront{}
	return err
}

// openPad opens what a setup names.
func (s PadSetup) openPad() (pad otp.Pad, close func() error, self, peer parley.Name, err error) {
	if s.Device != "" {
		c, err := client.Open(s.Device, s.Self)
		if err != nil {
			return nil, nil, "", "", err
		}
		return c, c.Close, s.Self, s.Peer, nil
	}
	f, err := padstore.Open(s.File, padstore.Options{Marks: s.Marks})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no file %s", s.File)
	}
	if err != nil {
		return nil, nil, "", "", err
	}
	if h := f.Header(); h != nil && h.Owner == otp.Whole {
		return nil, nil, "", "", errors.Join(fmt.Errorf("%s is a whole pad: “parley pad split” makes the two people's files of it", s.File), f.Close())
	}
	return f, f.Close, f.Self(), f.Peer(), nil
}

// Inspect implements [messenger.Pads].
func (p *pads) Inspect(ctx context.Context, setup []byte) (line messenger.PadLine, err error) {
	f, err := p.front(setup)
	if err != nil {
		return line, fmt.Errorf("%w: %w", messenger.ErrState, err)
	}
	st, err := f.inspect(ctx)
	if err != nil {
		return line, fmt.Errorf("%w: the pad: %s", messenger.ErrState, inWords(err))
	}
	// One of version 1 has no name of its own: it is where it is kept.
	file := f.setup.File
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = strings.TrimSuffix(strings.TrimSuffix(real, ".store"), ".metadata")
	}
	line = messenger.PadLine{STP: parley.OneTimePad, Bare: true, ID: fmt.Sprintf("v1 %s %s %d %s", file, f.setup.Device, st.Size, st.Peer), Self: string(st.Self), Peer: string(st.Peer), Quiet: f.setup.Device != ""}
	if st.Version == otp.V2 {
		line.STP, line.Bare = parley.OneTimePadV2, false
		line.ID = fmt.Sprintf("v2 %x lane %d", st.ID, st.Lane)
	}
	line.Ours = func(at parley.Address) (parley.Address, error) { return padMailbox(at, st, true) }
	line.Theirs = func(at parley.Address) (parley.Address, error) { return padMailbox(at, st, false) }
	return line, nil
}

// padMailbox is our mailbox or the peer's at a relay. With a pad of version 1 it is the
// original's: the user's name, open to everybody. Names and tokens of version 2 are known
// to who has the pad, and to the relay.
func padMailbox(at parley.Address, st otp.Status, ours bool) (parley.Address, error) {
	a, err := relay.ParseAddress(at)
	if err != nil {
		return "", fmt.Errorf("%w: %w: otc://HOST:PORT or otcs://HOST:PORT", messenger.ErrNoRelay, err)
	}
	if a.UID != "" || a.From != "" || a.Open || a.Send != "" || a.Receive != "" {
		return "", fmt.Errorf("%w: give the relay alone: otc://HOST:PORT or otcs://HOST:PORT", messenger.ErrNoRelay)
	}
	owner, other, lane := st.Self, st.Peer, st.Lane
	if !ours {
		owner, other, lane = other, owner, 1-lane
	}
	a.UID, a.From, a.Open = string(owner), string(other), true
	if st.Version == otp.V2 {
		a.Open = false
		a.UID, a.From = padBoxName(st, lane), padBoxName(st, 1-lane)
		a.Send = padToken(st, "send", lane)
		if ours {
			a.Receive = padToken(st, "receive", lane)
		}
	}
	return a.Parley(), nil
}

func padBoxName(st otp.Status, lane int) string {
	h := padHash(st, "name", lane)
	return "pad-" + hex.EncodeToString(h[:12])
}

func padToken(st otp.Status, what string, lane int) string {
	h := padHash(st, what, lane)
	return base64.RawURLEncoding.EncodeToString(h[:])
}

func padHash(st otp.Status, what string, lane int) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "parley otc mailbox %s of lane %d: %x", what, lane, st.Mailbox))
}

// SetUp implements [messenger.Pads].
func (p *pads) SetUp(state parley.Bucket, setup []byte) error {
	state.Put(padKey, setup)
	return nil
}

// Keyring implements [messenger.Pads].
func (p *pads) Keyring(state parley.Bucket) parley.Keyring { return padRing{p, state} }

// padRing is a line's keys: its pad.
type padRing struct {
	p     *pads
	state parley.Bucket
}

func (r padRing) Private(_ context.Context, kind parley.KeyKind, peer parley.Name) (crypto.PrivateKey, error) {
	if kind != otp.KindPad {
		return nil, parley.ErrNoKey
	}
	return r.p.of(r.state)
}

func (padRing) Public(context.Context, parley.KeyKind, parley.Name) (crypto.PublicKey, error) {
	return nil, parley.ErrNoKey
}

// Look implements [messenger.Pads].
func (p *pads) Look(state parley.Bucket) *messenger.Pad {
	f, err := p.of(state)
	if err != nil {
		return nil
	}
	return f.look()
}

// padHeaderRoom is what a text of version 2 needs besides, at most: the message's own
// header.
const padHeaderRoom = 64

// Most implements [messenger.Pads].
func (p *pads) Most(pad *messenger.Pad, stp parley.STP) int64 {
	if stp == parley.OneTimePadV2 {
		return pad.Largest - padHeaderRoom
	}
	return pad.Largest
}

// Grant implements [messenger.Pads].
func (p *pads) Grant(ctx context.Context, c *parley.Conversation, id [16]byte, size []byte) ([]byte, error) {
	f, err := p.of(c.State)
	if err != nil {
		return nil, err
	}
	if len(size) != 8 {
		return nil, fmt.Errorf("%w: a grant of nothing", parley.ErrRefused)
	}
	packet, err := f.grant(ctx, id, c.Peers[0], int64(binary.BigEndian.Uint64(size)))
	if err != nil {
		return nil, err
	}
	digest, peer := otp.Digest(packet), c.Peers[0]
	c.After(func() { _ = f.Done(context.WithoutCancel(ctx), peer, digest) })
	return packet, nil
}

// Again implements [messenger.Pads].
func (p *pads) Again(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = f
}
