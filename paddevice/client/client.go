package client

import (
	"context"
	"fmt"

	"parley"
	"parley/paddevice"
	"parley/secure/otp"
)

// A Client is one person's pads on a paired device: an [otp.Pad]. A person at the device
// may have to allow a call first, so a context without an end waits for as long as the
// device lets them think; when the context ends, the question disappears from the
// device, and no pad is used. To ask again with the same id or packet is always safe.
type Client struct {
	self parley.Name
	*conn
}

var _ otp.Pad = (*Client)(nil)

// Open uses the pairing in a file for the pads of self.
func Open(path string, self parley.Name) (*Client, error) {
	p, err := Load(path)
	if err != nil {
		return nil, err
	}
	return p.As(self)
}

// As uses the pairing for the pads of self. Nothing is dialled yet.
func (p *Pairing) As(self parley.Name) (*Client, error) {
	c, err := p.connect()
	if err != nil {
		return nil, err
	}
	return &Client{self, c}, nil
}

// Close gives idle connections back. The Client can still be used.
func (c *Client) Close() error { c.close(); return nil }

// Package is [otp.Pad]'s.
func (c *Client) Package(ctx context.Context, id [16]byte, peer parley.Name, msg []byte) ([]byte, error) {
	if len(msg) > otp.MaxBody {
		return nil, fmt.Errorf("%w: a message of %d bytes, at most %d", parley.ErrRefused, len(msg), otp.MaxBody)
	}
	return c.packet(c.do(ctx, paddevice.PathPackage, &paddevice.Request{ID: id, Self: c.self, Peer: peer, Data: msg}))
}

// Grant gives n bytes of pad that are ours to the peer: the packet tells the peer so.
// Like Package it gives the same packet for the same id.
func (c *Client) Grant(ctx context.Context, id [16]byte, peer parley.Name, n int64) ([]byte, error) {
	return c.packet(c.do(ctx, paddevice.PathGrant, &paddevice.Request{ID: id, Self: c.self, Peer: peer, N: n}))
}

func (c *Client) packet(r *paddevice.Reply, err error) ([]byte, error) {
	if err == nil && len(r.Data) == 0 {
		err = c.empty()
	}
	if err != nil {
		return nil, err
	}
	return r.Data, nil
}

func (c *Client) empty() error {
	return fmt.Errorf("%w: the pad device at %s leaves out what it was asked for", parley.ErrOffline, c.url)
}

// Unpackage is [otp.Pad]'s.
func (c *Client) Unpackage(ctx context.Context, peer parley.Name, packet []byte) (*otp.Opened, error) {
	r, err := c.do(ctx, paddevice.PathUnpackage, &paddevice.Request{Self: c.self, Peer: peer, Data: packet})
	if err == nil && r.Opened == nil {
		err = c.empty()
	}
	if err != nil {
		return nil, err
	}
	return r.Opened, nil
}

// Done is [otp.Pad]'s.
func (c *Client) Done(ctx context.Context, peer parley.Name, packet [32]byte) error {
	_, err := c.do(ctx, paddevice.PathDone, &paddevice.Request{Self: c.self, Peer: peer, Digest: packet})
	return err
}

// Status is [otp.Pad]'s.
func (c *Client) Status(ctx context.Context, peer parley.Name) (otp.Status, error) {
	r, err := c.do(ctx, paddevice.PathStatus, &paddevice.Request{Self: c.self, Peer: peer})
	if err == nil && r.Status == nil {
		err = c.empty()
	}
	if err != nil {
		return otp.Status{}, err
	}
	return *r.Status, nil
}

// Pads lists the pads on the device, of self and of others who keep theirs there.
func (c *Client) Pads(ctx context.Context) ([]otp.Status, error) {
	r, err := c.do(ctx, paddevice.PathPads, &paddevice.Request{})
	if err != nil {
		return nil, err
	}
	return r.Pads, nil
}
