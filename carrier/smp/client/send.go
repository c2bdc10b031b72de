package smpclient

import (
	"context"
	"errors"
	"fmt"

	"parley"
	"parley/carrier/smp"
)

// Send seals the packet to EK, signs it with SK (SEND), and returns AtRelay once
// the relay has it on its disk. [parley.ErrOffline] after the command went out
// may mean that the relay has it nevertheless: sent again, it arrives twice.
func (c *Client) Send(ctx context.Context, to parley.Endpoint, packet []byte) (parley.Reach, error) {
	if err := c.send(ctx, to, packet, false); err != nil {
		return 0, err
	}
	return parley.AtRelay, nil
}

// Confirm sends the first packet: unsigned, with SK's public key in reserved. It
// may be repeated; should the mailbox have been secured with SK meanwhile, the
// same goes out once more, signed.
func (c *Client) Confirm(ctx context.Context, to parley.Endpoint, packet []byte) error {
	return c.send(ctx, to, packet, true)
}

func (c *Client) send(ctx context.Context, to parley.Endpoint, packet []byte, confirm bool) error {
	s, err := c.parseSender(to)
	if err != nil {
		return err
	}
	if most := maxPacket(s.ek.Size(), s.bare); len(packet) > most {
		return fmt.Errorf("%w: a packet of %d bytes; this mailbox takes %d", parley.ErrRefused, len(packet), most)
	}
	plain, err := s.plain(packet, confirm)
	if err != nil {
		return err
	}
	t := smp.Transmission{ID: s.sid, Verb: smp.SEND}
	if t.Body, err = sealBody(s.ek, plain); err != nil {
		return err
	}
	if !confirm {
		err = s.signed(ctx, c, t)
	} else if _, err = c.link(s.server).do(ctx, &t, false); errors.Is(err, parley.ErrDenied) && len(t.Body) <= smp.MaxBody {
		err = s.signed(ctx, c, t)
	}
	if err != nil {
		return fmt.Errorf("sending to a mailbox at %s: %w", s.server, err)
	}
	return nil
}

func (s *sender) signed(ctx context.Context, c *Client, t smp.Transmission) error {
	if err := t.Sign(s.sk); err != nil {
		return err
	}
	_, err := c.link(s.server).do(ctx, &t, false)
	return err
}

// plain makes the decryptedBody of a packet. A bare packet is one already.
func (s *sender) plain(packet []byte, confirm bool) ([]byte, error) {
	client := packet
	if s.bare {
		reserved, body, bind, err := splitBody(packet)
		if err != nil || bind != nil || confirm && len(reserved) > 0 {
			return nil, fmt.Errorf("%w: a bare packet is reserved LF clientBody LF, with nothing reserved in the first", parley.ErrRefused)
		}
		if !confirm {
			return packet, nil
		}
		client = body
	}
	if !confirm {
		return joinBody(client, nil), nil
	}
	der, err := smp.MarshalKey(&s.sk.PublicKey)
	if err != nil {
		return nil, err
	}
	return joinBody(client, der), nil
}
