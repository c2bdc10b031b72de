package client

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"parley"
	"parley/carrier/relay"
)

// A Client is the carrier over mailboxes of relays. It is safe for concurrent use; Close
// ends it.
type Client struct {
	o     Options
	http  *http.Client
	ctx   context.Context
	close context.CancelCauseFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	tokens  map[string]string // by mailbox: the owner's token, of this process
	reading map[string]bool   // mailboxes and senders that are being received from
	down    map[string]bool   // relays that did not answer
	v1      map[string]bool   // relays of the original's
}

var _ parley.Carrier = (*Client)(nil)

// New makes a client. It connects when it has to.
func New(o Options) *Client {
	o = o.withDefaults()
	c := &Client{o: o, tokens: map[string]string{}, reading: map[string]bool{}, down: map[string]bool{}, v1: map[string]bool{}}
	c.ctx, c.close = context.WithCancelCause(context.Background())
	c.http = newHTTP(c.ctx, o)
	return c
}

// Close ends all requests; Receive returns.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.close(ErrClosed)
	c.wg.Wait()
	c.http.CloseIdleConnections()
	return nil
}

// while is ctx until the client is closed.
func (c *Client) while(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// Claim makes a mailbox ours. At a relay, that is a new one of a random name, which only
// who has its address can send to. At a full address it is the mailbox of that name; it
// gets the tokens that stand in the address, an owner's token in any case, and none that
// sending needs unless it stands there. With "open" in the address it is nobody's, as
// One Time Chat's own client needs it, and nothing is asked of the relay but whether it
// is there.
//
// [parley.ErrDenied] says that the mailbox is somebody's, or was in use before. The same
// mailbox may be claimed again with the same tokens, or in the same process, for another
// sender.
func (c *Client) Claim(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	a, err := relay.ParseAddress(at)
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	if a.Open {
		if err := c.call(ctx, a, "", http.MethodGet, relay.PathCheck, nil, 0, new(relay.Check)); err != nil {
			return parley.Endpoint{}, fmt.Errorf("asking %s: %w", a.Server(), err)
		}
		return endpoint(a, secret{Own: true, Max: c.o.Max})
	}
	if a.UID == "" {
		a.UID, a.Send = randomName(), newToken()
	}
	key := a.Server().String() + "/" + a.UID
	c.mu.Lock()
	known := c.tokens[key]
	c.mu.Unlock()
	receive := a.Receive
	if receive == "" {
		receive = known
	}
	if receive == "" {
		receive = newToken()
	}
	a.Receive = ""
	err = c.claim(ctx, a, receive)
	var status *statusError
	if errors.As(err, &status) && status.apiV1 {
		return parley.Endpoint{}, fmt.Errorf("%w: the relay at %s knows no mailboxes that belong to somebody; with ?open at its end, the address is one of those that anybody can read",
			parley.ErrRefused, a.Server())
	}
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("claiming a mailbox at %s: %w", a.Server(), err)
	}
	c.mu.Lock()
	c.tokens[key] = receive
	c.mu.Unlock()
	return endpoint(a, secret{Own: true, Receive: receive, Max: c.o.Max})
}

func (c *Client) claim(ctx context.Context, a relay.Address, receive string) error {
	hash := relay.HashToken(receive)
	q := relay.ClaimRequest{Recipient: a.UID, Receive: &hash}
	if a.Send != "" {
		h := relay.HashToken(a.Send)
		q.Send = &h
	}
	return c.call(ctx, a, "", http.MethodPost, relay.PathV2Claim, q, 0, new(relay.ClaimReply))
}

func newToken() string {
	var b [32]byte
	rand.Read(b[:])
	return relay.NewToken(b)
}

func randomName() string {
	var b [16]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// Join makes the end that sends to a mailbox. It asks nobody. Packets go under the name
// that stands in the address as the only sender wanted, or under that of the options.
func (c *Client) Join(ctx context.Context, mailbox parley.Address) (parley.Endpoint, error) {
	a, err := relay.ParseAddress(mailbox)
	if err == nil && a.UID == "" {
		err = errors.New("the address of a relay, not of a mailbox there")
	}
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	if err := ctx.Err(); err != nil {
		return parley.Endpoint{}, err
	}
	self := a.From
	if self == "" {
		self = c.o.Self
	}
	a.Receive = ""
	return endpoint(a, secret{Self: self, Max: c.o.Max})
}

// Send stores a packet in the mailbox and returns AtRelay once the relay has it on disk.
// Sent again, the same packet is the same message, except at the original's relay, which
// cannot tell.
func (c *Client) Send(ctx context.Context, to parley.Endpoint, packet []byte) (parley.Reach, error) {
	s, a, err := readSecret(to)
	if err != nil {
		return 0, err
	}
	if s.Own {
		return 0, fmt.Errorf("%w: an end that receives", errSecret)
	}
	if len(packet) > s.Max {
		return 0, fmt.Errorf("%w: a packet of %d bytes; this mailbox takes %d", parley.ErrRefused, len(packet), s.Max)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err = c.send(ctx, a, s.Self, packet); err != nil {
		if errors.Is(err, parley.ErrOffline) {
			c.state(a, false, err)
		}
		return 0, fmt.Errorf("sending to a mailbox at %s: %w", a.Server(), err)
	}
	c.state(a, true, nil)
	return parley.AtRelay, nil
}

func (c *Client) send(ctx context.Context, a relay.Address, self string, packet []byte) error {
	server := a.Server().String()
	c.mu.Lock()
	v1 := c.v1[server]
	c.mu.Unlock()
	contents := relay.Encode(packet)
	if !v1 || a.Send != "" {
		q := relay.SendRequest{Recipient: a.UID, Sender: self, Contents: contents, ID: packetID(a, self, packet)}
		var reply relay.SendReply
		err := c.call(ctx, a, a.Send, http.MethodPost, relay.PathV2Send, q, 0, &reply)
		var status *statusError
		if !errors.As(err, &status) || !status.apiV1 || a.Send != "" {
			if err == nil && !reply.Received {
				err = fmt.Errorf("%w: the relay's answer is not one", parley.ErrOffline)
			}
			return err
		}
	}
	var sent relay.Sent
	form := url.Values{"recipient_uid": {a.UID}, "sender_uid": {self}, "contents": {contents}}
	if err := c.call(ctx, a, a.Send, http.MethodPost, relay.PathSend, form, 0, &sent); err != nil {
		return err
	}
	if !sent.Received {
		return fmt.Errorf("%w: the relay's answer is not one", parley.ErrOffline)
	}
	c.mu.Lock()
	c.v1[server] = true
	c.mu.Unlock()
	return nil
}

// packetID is the same for the same packet, so that the relay knows it again after a
// reply that got lost. A packet that is equal to another one is that one.
func packetID(a relay.Address, self string, packet []byte) (id relay.ID) {
	h := sha256.New()
	h.Write([]byte(a.UID + "\x00" + self + "\x00"))
	h.Write(packet)
	copy(id[:], h.Sum(nil))
	return id
}

// Delete deletes from the relay what waits in a mailbox of ours, of all senders or of
// the one that it is for. It may be repeated. In an open mailbox, and at an end that
// sends, there is nothing that we can delete.
func (c *Client) Delete(ctx context.Context, at parley.Endpoint) error {
	s, a, err := readSecret(at)
	if err != nil || !s.Own || s.Receive == "" {
		return err
	}
	for start := int64(0); ; {
		var reply relay.Messages
		q := relay.Question{Recipient: a.UID, Start: start, Most: 200, From: a.From}
		if err = c.ask(ctx, s, a, q, &reply); err != nil || len(reply.Messages) == 0 {
			break
		}
		var refs []int64
		var sums []relay.Sum
		for _, m := range reply.Messages {
			start = max(start, m.Ref+1)
			if a.From == "" || m.Sender == a.From {
				refs, sums = append(refs, m.Ref), append(sums, relay.SumOf(m.Contents))
			}
		}
		if err = c.done(ctx, s, a, refs, sums); err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("deleting what is in a mailbox at %s: %w", a.Server(), err)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, s secret, a relay.Address, q relay.Question, reply *relay.Messages) error {
	return c.call(ctx, a, s.Receive, http.MethodGet, relay.PathGetMessages+"?"+q.Query(), nil, q.Wait, reply)
}

// done has the relay delete messages.
func (c *Client) done(ctx context.Context, s secret, a relay.Address, refs []int64, sums []relay.Sum) error {
	for len(refs) > 0 {
		n := min(len(refs), relay.MaxDone)
		q := relay.DoneRequest{Recipient: a.UID, Refs: refs[:n], Sums: sums[:n]}
		if err := c.call(ctx, a, s.Receive, http.MethodPost, relay.PathV2Done, q, 0, new(relay.DoneReply)); err != nil {
			return err
		}
		refs, sums = refs[n:], sums[n:]
	}
	return nil
}

// state tells who wants to know when a relay answers and when it does not.
func (c *Client) state(a relay.Address, up bool, err error) {
	server := a.Server().String()
	c.mu.Lock()
	was, known := c.down[server]
	c.down[server] = !up
	tell := !known || was == up
	c.mu.Unlock()
	if tell && c.o.OnState != nil {
		c.o.OnState(parley.Address(server), up, err)
	}
}
