package client

import (
	"context"
	"fmt"
	"net/http"

	"parley/carrier/relay"
)

// Check asks whether a relay is there.
func (c *Client) Check(ctx context.Context, a relay.Address) error {
	var reply relay.Check
	if err := c.call(ctx, a, "", http.MethodGet, relay.PathCheck, nil, 0, &reply); err != nil {
		return fmt.Errorf("asking %s: %w", a.Server(), err)
	}
	return nil
}

// Messages returns what waits in a mailbox that belongs to nobody, from a number on, and
// changes nothing: One Time Chat's own way, for who keeps the place by himself. There may
// be more than it returns; then Complete is false.
func (c *Client) Messages(ctx context.Context, a relay.Address, start int64) (relay.Messages, error) {
	var reply relay.Messages
	if err := c.ask(ctx, secret{}, a, relay.Question{Recipient: a.UID, Start: start, Most: page, Waits: true}, &reply); err != nil {
		return reply, fmt.Errorf("asking %s for messages: %w", a.Server(), err)
	}
	return reply, nil
}
