package remote

import (
	"context"
	"encoding/json"
	"fmt"

	"parley/messenger"
)

var _ messenger.API = (*Client)(nil)

func (c *Client) Invite(ctx context.Context, o messenger.InviteOptions) (v messenger.Invitation, err error) {
	err = c.call(ctx, "invite", o, &v)
	return v, err
}

func (c *Client) Accept(ctx context.Context, o messenger.AcceptOptions) (v messenger.Contact, err error) {
	err = c.call(ctx, "accept", o, &v)
	return v, err
}

func (c *Client) AddConversation(ctx context.Context, o messenger.ConversationOptions) (v messenger.Contact, err error) {
	err = c.call(ctx, "add-conversation", o, &v)
	return v, err
}

func (c *Client) AddAccount(ctx context.Context, o messenger.AccountOptions) (v messenger.Account, err error) {
	err = c.call(ctx, "add-account", o, &v)
	return v, err
}

func (c *Client) Accounts(ctx context.Context) ([]messenger.Account, error) {
	return collect[messenger.Account](ctx, c, "accounts", nothing{})
}

func (c *Client) Register(ctx context.Context, kind, name, contact string) (v messenger.Account, err error) {
	err = c.call(ctx, "register", registerOf{kind, name, contact}, &v)
	return v, err
}

func (c *Client) RotateAccount(ctx context.Context, kind, name string, setup []byte) (v messenger.Account, err error) {
	err = c.call(ctx, "rotate-account", rotateOf{kind, name, setup}, &v)
	return v, err
}

func (c *Client) RemoveAccount(ctx context.Context, kind, name string) error {
	return c.call(ctx, "remove-account", accountOf{kind, name}, nil)
}

func (c *Client) SetPresence(ctx context.Context, kind, name string, on bool) (v messenger.Account, err error) {
	err = c.call(ctx, "presence", presenceOf{kind, name, on}, &v)
	return v, err
}

func (c *Client) AddPeer(ctx context.Context, o messenger.PeerOptions) (v messenger.Contact, err error) {
	err = c.call(ctx, "add-peer", o, &v)
	return v, err
}

func (c *Client) AddPad(ctx context.Context, o messenger.PadOptions) (v messenger.Contact, err error) {
	err = c.call(ctx, "add-pad", o, &v)
	return v, err
}

func (c *Client) GrantPad(ctx context.Context, name string, size int64) error {
	return c.call(ctx, "grant-pad", grantOf{name, size}, nil)
}

func (c *Client) SetCircle(ctx context.Context, name string, members []string) (v messenger.Circle, err error) {
	err = c.call(ctx, "set-circle", messenger.Circle{Name: name, Members: members}, &v)
	return v, err
}

func (c *Client) Circles(ctx context.Context) ([]messenger.Circle, error) {
	return collect[messenger.Circle](ctx, c, "circles", nothing{})
}

func (c *Client) SendAll(ctx context.Context, circle, text string) ([]messenger.Message, error) {
	if len(text) > messenger.MaxText {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", messenger.ErrTooLong, len(text), messenger.MaxText)
	}
	return collect[messenger.Message](ctx, c, "send-all", sendOf{circle, text})
}

func (c *Client) Contacts(ctx context.Context) ([]messenger.Contact, error) {
	return collect[messenger.Contact](ctx, c, "contacts", nothing{})
}

func (c *Client) Contact(ctx context.Context, name string) (v messenger.Contact, err error) {
	err = c.call(ctx, "contact", contactOf{name}, &v)
	return v, err
}

func (c *Client) Rename(ctx context.Context, name, to string) error {
	return c.call(ctx, "rename", renameOf{name, to}, nil)
}

func (c *Client) SetReceipts(ctx context.Context, name, level string) error {
	return c.call(ctx, "receipts", receiptsOf{name, level}, nil)
}

func (c *Client) Remove(ctx context.Context, name string) error {
	return c.call(ctx, "remove", contactOf{name}, nil)
}

func (c *Client) SafetyNumber(ctx context.Context, name string) (v messenger.SafetyNumber, err error) {
	err = c.call(ctx, "safety", contactOf{name}, &v)
	return v, err
}

func (c *Client) SetVerified(ctx context.Context, n messenger.SafetyNumber, verified bool) error {
	return c.call(ctx, "verified", verifiedOf{n, verified}, nil)
}

func (c *Client) People(ctx context.Context, name string) ([]messenger.Person, error) {
	return collect[messenger.Person](ctx, c, "people", contactOf{name})
}

func (c *Client) Admit(ctx context.Context, name, person string) (v messenger.Person, err error) {
	err = c.call(ctx, "admit", personOf{name, person}, &v)
	return v, err
}

func (c *Client) Expel(ctx context.Context, name, person string) (v messenger.Person, err error) {
	err = c.call(ctx, "expel", personOf{name, person}, &v)
	return v, err
}

func (c *Client) NamePerson(ctx context.Context, name, person, as string) (v messenger.Person, err error) {
	err = c.call(ctx, "name-person", namePersonOf{name, person, as}, &v)
	return v, err
}

func (c *Client) Send(ctx context.Context, contact, text string) (v messenger.Message, err error) {
	if len(text) > messenger.MaxText {
		return v, fmt.Errorf("%w: %d bytes, at most %d", messenger.ErrTooLong, len(text), messenger.MaxText)
	}
	err = c.call(ctx, "send", sendOf{contact, text}, &v)
	return v, err
}

func (c *Client) Wait(ctx context.Context, id string, until messenger.State) (v messenger.Message, err error) {
	err = c.call(ctx, "wait", waitOf{id, until}, &v)
	return v, err
}

func (c *Client) Message(ctx context.Context, id string) (v messenger.Message, err error) {
	err = c.call(ctx, "message", messageOf{id}, &v)
	return v, err
}

func (c *Client) History(ctx context.Context, contact string, limit int) ([]messenger.Message, error) {
	return collect[messenger.Message](ctx, c, "history", historyOf{contact, limit})
}

func (c *Client) Resend(ctx context.Context, id string) (v messenger.Message, err error) {
	err = c.call(ctx, "resend", messageOf{id}, &v)
	return v, err
}

func (c *Client) Cancel(ctx context.Context, id string) (v messenger.Message, err error) {
	err = c.call(ctx, "abandon", messageOf{id}, &v)
	return v, err
}

func (c *Client) Queue(ctx context.Context) ([]messenger.QueueEntry, error) {
	return collect[messenger.QueueEntry](ctx, c, "queue", nothing{})
}

func (c *Client) Status(ctx context.Context) (v messenger.Status, err error) {
	err = c.call(ctx, "status", nothing{}, &v)
	return v, err
}

// Listen calls show for each message the owner gives to this process. Only when
// show has returned nil does the owner count the message as shown.
func (c *Client) Listen(ctx context.Context, contact string, show func(messenger.Message) error) error {
	return c.follow(ctx, "listen", contactOf{contact}, func(f *frame) error {
		if f.Method != "show" || f.ID == nil {
			return nil
		}
		var m messenger.Message
		err := json.Unmarshal(f.Params, &m)
		if err == nil {
			err = show(m)
		}
		answer := &frame{ID: f.ID, Result: encode(true)}
		if err != nil {
			answer.Result, answer.Error = nil, &Error{Code: codeAPI, Message: err.Error()}
		}
		if lost := c.wire.write(answer); lost != nil && err == nil {
			return c.gone()
		}
		return err
	})
}

func (c *Client) Watch(ctx context.Context, changed func(messenger.Change) error) error {
	return c.follow(ctx, "watch", nothing{}, func(f *frame) error {
		if f.Method != "changed" {
			return nil
		}
		var v messenger.Change
		if err := json.Unmarshal(f.Params, &v); err != nil {
			return err
		}
		return changed(v)
	})
}

// follow makes a request that streams, and gives what comes to take, on the
// caller's goroutine, until the request, ctx or take ends it.
func (c *Client) follow(ctx context.Context, method string, params any, take func(*frame) error) error {
	// The request ends only between two calls of take: an answer that take gives
	// reaches the other side before the word that we stop.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	queue := make(chan *frame, backlog)
	ended := make(chan error, 1)
	go func() {
		ended <- c.stream(inner, method, params, nil, func(f *frame) {
			select {
			case queue <- f:
			default:
				cancel(ErrSlow)
			}
		})
	}()
	for {
		if ctx.Err() != nil {
			cancel(context.Cause(ctx))
			<-ended
			return context.Cause(ctx)
		}
		select {
		case <-ctx.Done():
		case f := <-queue:
			if err := take(f); err != nil {
				cancel(err)
				<-ended
				return err
			}
		case err := <-ended:
			return err
		}
	}
}

// collect makes a request whose results come one by one.
func collect[T any](ctx context.Context, c *Client, method string, params any) ([]T, error) {
	var all []T
	var bad error
	var n counted
	err := c.stream(ctx, method, params, &n, func(f *frame) {
		var v T
		if err := json.Unmarshal(f.Params, &v); err != nil {
			bad = err
		}
		all = append(all, v)
	})
	if err != nil {
		return nil, err
	}
	if bad != nil || len(all) != n.Items {
		return nil, fmt.Errorf("the owner's answer to %s: %d of %d items: %w", method, len(all), n.Items, bad)
	}
	return all, nil
}
