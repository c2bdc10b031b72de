package smpclient

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"

	"parley"
	"parley/carrier/smp"
)

const (
	keyBits = 2048 // of RK, SK and EK

	// What signatures, IDs and keys of ours leave of a block.
	sealed    = keyBits / 8
	frame     = 2                 // reserved's LF and the last one
	senderKey = len("KEY ") + 392 // a 2048-bit key, SPKI DER, base64
)

// maxPacket returns the largest packet for Send and Confirm to a mailbox. It is
// the same over plain relays: the recipient may be on the encrypted side.
func maxPacket(ekSize int, bare bool) int {
	n := min(smp.MaxBody, smp.MaxBodyBlock-senderKey) - ekSize
	if bare {
		return n // the packet has the frame in it
	}
	return n - frame
}

// Claim creates a mailbox at a relay (CONN) with fresh RK and EK. The endpoint's
// Address is for the sender; delete it when the mailbox is secured. Its Secret
// has all that receiving needs. When the reply gets lost, the relay keeps a mailbox
// that nobody knows of.
func (c *Client) Claim(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	srv, bare, err := parseRelay(at)
	if err != nil {
		return parley.Endpoint{}, err
	}
	if srv.Plain && !srv.Loopback() {
		return parley.Endpoint{}, ErrPlain
	}
	rk, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return parley.Endpoint{}, err
	}
	ek, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return parley.Endpoint{}, err
	}
	create := smp.Transmission{Verb: smp.CONN}
	if create.Key, err = smp.MarshalKey(&rk.PublicKey); err != nil {
		return parley.Endpoint{}, err
	}
	if f := c.o.Creator; f != nil {
		if key := f(parley.Address(srv.String())); key != nil {
			if err := create.Sign(key); err != nil {
				return parley.Endpoint{}, err
			}
		}
	}
	r, err := c.link(srv).do(ctx, &create, true)
	if err != nil {
		return parley.Endpoint{}, fmt.Errorf("claiming a mailbox at %s: %w", srv, err)
	}
	if r.Verb != smp.IDS {
		return parley.Endpoint{}, fmt.Errorf("claiming a mailbox at %s: %w", srv, offline(errReply))
	}
	s := secret{V: 1, Server: srv.String(), Bare: bare, RID: r.Recipient.Bytes()}
	if s.RK, err = marshalPrivate(rk); err != nil {
		return parley.Endpoint{}, err
	}
	if s.EK, err = marshalPrivate(ek); err != nil {
		return parley.Endpoint{}, err
	}
	m := Mailbox{srv, r.Sender, &ek.PublicKey, bare}
	return endpoint(m, s)
}

// Join makes the sending end of a mailbox, with a fresh SK. It needs no network.
func (c *Client) Join(ctx context.Context, mailbox parley.Address) (parley.Endpoint, error) {
	m, err := ParseMailbox(mailbox)
	if err != nil {
		return parley.Endpoint{}, err
	}
	if m.Server.Plain && !m.Server.Loopback() {
		return parley.Endpoint{}, ErrPlain
	}
	sk, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return parley.Endpoint{}, err
	}
	s := secret{V: 1, Server: m.Server.String(), Bare: m.Bare, SID: m.Sender.Bytes(), Seal: m.EK.N.Bytes()}
	if s.SK, err = marshalPrivate(sk); err != nil {
		return parley.Endpoint{}, err
	}
	return endpoint(m, s)
}

func endpoint(m Mailbox, s secret) (parley.Endpoint, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return parley.Endpoint{}, err
	}
	return parley.Endpoint{Address: m.Address(), Secret: b, Max: maxPacket(m.EK.Size(), m.Bare)}, nil
}

// Secure closes a mailbox to all but the sender whose key came in a
// confirmation's Bind (KEY). It may be repeated with the same key.
func (c *Client) Secure(ctx context.Context, at parley.Endpoint, bind []byte) error {
	if _, err := smp.ParseKey(bind); err != nil {
		return fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	return c.command(ctx, at, smp.Transmission{Verb: smp.KEY, Key: bind})
}

// Suspend closes a mailbox to everybody (HOLD), and returns when all its messages
// have been delivered: so Receive must be under way, or ctx have an end. It may
// be repeated. It uses a connection of its own: replies come in order, and SUB's
// would wait behind HOLD's.
func (c *Client) Suspend(ctx context.Context, at parley.Endpoint) error {
	r, t, err := recipientCommand(at, smp.Transmission{Verb: smp.HOLD})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	conn, err := Dial(ctx, r.server, c.o, nil)
	if err != nil {
		return offline(err)
	}
	defer conn.Close()
	reply, err := conn.Do(ctx, &t)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return offline(err)
	case reply.Verb == smp.ERR:
		return fmt.Errorf("HOLD at %s: %w", r.server, refusal(reply.Code))
	}
	return nil
}

// Delete deletes a mailbox and the messages in it (DEL). When it is gone already, the
// relay can only say what it says to strangers: [parley.ErrDenied].
func (c *Client) Delete(ctx context.Context, at parley.Endpoint) error {
	return c.command(ctx, at, smp.Transmission{Verb: smp.DEL})
}

func (c *Client) command(ctx context.Context, at parley.Endpoint, t smp.Transmission) error {
	r, t, err := recipientCommand(at, t)
	if err != nil {
		return err
	}
	if _, err := c.link(r.server).do(ctx, &t, true); err != nil {
		return fmt.Errorf("%s at %s: %w", t.Verb, r.server, err)
	}
	return nil
}

func recipientCommand(at parley.Endpoint, t smp.Transmission) (*recipient, smp.Transmission, error) {
	r, err := parseRecipient(at)
	if err != nil {
		return nil, t, err
	}
	t.ID = r.rid
	return r, t, t.Sign(r.rk)
}
