package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"parley"
	otcrelay "parley/carrier/relay"
	"parley/internal/term"
	deviceclient "parley/paddevice/client"
)

// sendAll sends a message to several people, each with their own pad.
func (c *otcChat) sendAll(ctx context.Context, how string, to []string, text string) error {
	if text == "" {
		c.failed++
		return c.say(errorOf("usage: "+how), "Not sent: it is %s\n", how)
	}
	seen := map[string]bool{}
	for _, user := range to {
		if seen[user] {
			continue // pad is used once for each
		}
		seen[user] = true
		err := otcrelay.CheckUID(user)
		if err == nil {
			err = c.send(ctx, parley.Name(user), text)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			c.failed++
			if err := c.say(map[string]string{"error": err.Error(), "to": user}, "Error: Failed to send message to %s: %s\n", term.Line(user), term.Text(err.Error())); err != nil {
				return err
			}
		}
	}
	return nil
}

// send packages a message and hands it to the relay. The package is on disk before it
// goes out: pad was used for it, and a relay that does not answer must not cost that.
func (c *otcChat) send(ctx context.Context, to parley.Name, text string) error {
	if len(text) > otcLongest { // before pad is used
		return fmt.Errorf("the message has %d bytes; a relay takes at most %d", len(text), otcLongest)
	}
	var pack string
	err := c.within(ctx, otcDeviceTime, func(ctx context.Context) (err error) {
		pack, err = c.device.Package(ctx, c.self, to, text)
		return err
	})
	if err != nil {
		return err
	}
	if _, ok := otcrelay.Decode(pack); !ok {
		return errors.New("the device returns what is no package")
	}
	if err := c.outbox.add(otcPackage{To: string(to), Contents: pack}); err != nil {
		// It may still go out now.
		c.warn("NOT KEPT", fmt.Sprintf("The package to %s cannot be kept (%v): if the relay does not take it now, it is lost.", to, err))
		return c.post(ctx, otcPackage{To: string(to), Contents: pack})
	}
	c.flush(ctx)
	return nil
}

// post hands one package to the relay.
func (c *otcChat) post(ctx context.Context, p otcPackage) error {
	a := c.relay.at
	a.UID, a.From = p.To, string(c.self)
	packet, _ := otcrelay.Decode(p.Contents)
	end, err := c.client.Join(ctx, a.Parley())
	if err != nil {
		return err
	}
	err = c.within(ctx, otcRelayTime, func(ctx context.Context) error {
		_, err := c.client.Send(ctx, end, packet)
		return err
	})
	if err == nil {
		return c.say(map[string]string{"sent": p.To}, "Message sent.\n")
	}
	return err
}

// flush hands on what waits, oldest first. A message that overtakes another one looks
// like a lost one at the far end, so that after the first failure nothing more goes to
// the same person; and to nobody when the relay is out of reach.
func (c *otcChat) flush(ctx context.Context) {
	stuck := map[string]bool{}
	for _, e := range c.outbox.all() {
		if ctx.Err() != nil {
			return
		}
		if stuck[e.To] {
			continue
		}
		switch err := c.post(ctx, e.otcPackage); {
		case err == nil:
			err := c.outbox.remove(e)
			if err != nil { // sent again, it is the same message
				c.say(errorOf(err.Error()), "The sent package stays in the folder: %v\n", err)
			}
		case errors.Is(err, parley.ErrRefused):
			c.failed++
			c.outbox.remove(e)
			c.warn("NOT SENT", fmt.Sprintf("The relay refuses the package to %s for good: %v", e.To, err))
		default:
			stuck[e.To] = true
			c.say(map[string]string{"kept": e.To, "error": err.Error()},
				"Not sent to %s yet: %s\nThe package is kept and sent again, unchanged, with the next command; its pad is not lost.\n", term.Line(e.To), term.Text(err.Error()))
			if errors.Is(err, parley.ErrOffline) {
				return
			}
		}
	}
}

// receive shows what has come.
func (c *otcChat) receive(ctx context.Context) error {
	a := c.relay.at
	a.UID = string(c.self)
	for more := true; more; {
		var got otcrelay.Messages
		err := c.within(ctx, otcRelayTime, func(ctx context.Context) (err error) {
			got, err = c.client.Messages(ctx, a, c.cursor)
			return err
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return c.say(errorOf(err.Error()), "Cannot receive: %s\n", term.Text(err.Error()))
		}
		more = !got.Complete && len(got.Messages) > 0
		for _, m := range got.Messages {
			if m.Ref < c.cursor {
				continue
			}
			if on, err := c.show(ctx, m); !on || err != nil {
				return err
			}
		}
	}
	return nil
}

// show opens a message and moves the cursor past it, unless somebody said no or the
// device cannot be reached: then it is asked for again.
func (c *otcChat) show(ctx context.Context, m otcrelay.Message) (on bool, err error) {
	from := term.Line(m.Sender)
	var o deviceclient.Opened
	err = c.within(ctx, otcDeviceTime, func(ctx context.Context) (err error) {
		o, err = c.device.Unpackage(ctx, parley.Name(m.Sender), c.self, m.Contents)
		return err
	})
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if o.Reuse {
		c.warn("PAD REUSED", fmt.Sprintf("A message from %s uses pad that was used before. Somebody repeats an old message, or the pad of %s was put back from a copy. Do not believe it, and ask %s by another way.", from, from, from))
	}
	if o.Skip {
		c.warn("PAD SKIPPED", fmt.Sprintf("Pad was passed over before this message from %s. Messages before it were dropped, or come later.", from))
	}
	switch {
	case err == nil:
		err = c.say(map[string]any{"from": m.Sender, "text": o.Message, "ref": m.Ref, "skip": o.Skip, "reuse": o.Reuse}, "%s: %s\n", from, term.Indent(o.Message, "    "))
	case errors.Is(err, parley.ErrDenied):
		return false, c.say(map[string]string{"denied": m.Sender}, "Not opened: the message from '%s' was denied on the device. It stays; press Enter to be asked again, or type 'skip' to pass over it.\n", from)
	case errors.Is(err, parley.ErrOffline):
		return false, c.say(errorOf(err.Error()), "Cannot open the message from '%s': %s\n", from, term.Text(err.Error()))
	default:
		err = c.say(map[string]any{"failed": m.Sender, "error": err.Error(), "ref": m.Ref, "reuse": o.Reuse},
			"Failed to decode message from '%s' (%s)\n", from, term.Line(err.Error()))
	}
	if err != nil {
		return false, err
	}
	return true, c.move(ctx, m.Ref+1)
}

// move sets the cursor, which the device keeps.
func (c *otcChat) move(ctx context.Context, next int64) error {
	c.cursor = next
	err := c.within(ctx, otcRelayTime, func(ctx context.Context) error { return c.device.SaveNextRef(ctx, c.self, c.relay.names[0], next) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return c.say(errorOf(err.Error()), "The device has not kept the cursor: %s. After the next start, what was shown may come again.\n", term.Line(err.Error()))
	}
	return nil
}

// skip passes over the next message.
func (c *otcChat) skip(ctx context.Context) error {
	a := c.relay.at
	a.UID = string(c.self)
	got, err := c.client.Messages(ctx, a, c.cursor)
	if err != nil {
		return c.say(errorOf(err.Error()), "Cannot ask: %s\n", term.Text(err.Error()))
	}
	if len(got.Messages) == 0 {
		return c.say(nil, "Nothing waits.\n")
	}
	m := got.Messages[0]
	if err := c.say(map[string]any{"skipped": m.Sender, "ref": m.Ref}, "Passed over a message from '%s'.\n", term.Line(m.Sender)); err != nil {
		return err
	}
	return c.move(ctx, m.Ref+1)
}

func errorOf(text string) map[string]string {
	return map[string]string{"error": strings.TrimSpace(text)}
}
