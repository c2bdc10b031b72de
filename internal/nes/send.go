package nes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"parley"
	mqttclient "parley/carrier/mqtt/client"
	"parley/internal/filelock"
	"parley/secure/nes"
)

// SendTimeout is how long a broker may take to have a message.
const SendTimeout = 30 * time.Second

const maxOutbox = 10_000

// Queue seals a text and commits it to the outbox. From then on it is not lost.
func (e *Engine) Queue(ctx context.Context, peer, text string) error {
	if !utf8.ValidString(text) {
		return Errorf(Usage, "Cannot send message: the text is not UTF-8")
	}
	if len(text) > nes.MaxText {
		return Errorf(Usage, "Cannot send message: a text is at most %d bytes long", nes.MaxText)
	}
	own, err := e.keys()
	if err != nil {
		return err
	}
	k, err := e.recipient(ctx, peer)
	if err != nil {
		return Prefix("Cannot get recipient public key", err)
	}
	return e.state.Update(func(b parley.Bucket) error {
		if count(b, "out/") >= maxOutbox {
			return Errorf(Network, "Cannot send message: %d messages wait for the broker already", maxOutbox)
		}
		m := nes.Message{From: e.user, To: peer, Time: tick(b, peer, e.now().UnixMilli()), Text: text}
		env, _, err := nes.Seal(m, k.Message, own.Sign)
		if err != nil {
			return Prefix("Cannot encrypt message", err)
		}
		add(b, "out/", marshal(outgoing{Peer: peer, Broker: e.broker.Address(), Envelope: env}))
		return nil
	})
}

// Waiting returns how many messages are in the outbox: for this broker, and for others.
func (e *Engine) Waiting() (here, elsewhere int) {
	e.state.View(func(b parley.Bucket) error {
		for _, o := range outbox(b) {
			if o.Broker == e.broker.Address() {
				here++
			} else {
				elsewhere++
			}
		}
		return nil
	})
	return here, elsewhere
}

// Flush publishes the outbox, the oldest first, and returns when the broker has all
// of it. One process at a time does so.
func (e *Engine) Flush(ctx context.Context) error {
	conn, err := e.dial(ctx, e.options())
	if err != nil {
		return e.brokerError(err)
	}
	defer e.hangUp(conn)
	return e.brokerError(e.flush(ctx, conn))
}

func (e *Engine) flush(ctx context.Context, conn *mqttclient.Conn) error {
	release, err := acquire(ctx, e.S.StatePath()+".sending")
	if err != nil {
		return err
	}
	defer release()
	var kept error
	for {
		o, err := e.nextOut()
		if err != nil || o == nil {
			return errors.Join(kept, err)
		}
		err = conn.Publish(ctx, mqttclient.Message{Topic: nes.Topic(o.Peer), Payload: o.Envelope, QoS: 2})
		switch {
		case errors.Is(err, parley.ErrRefused) && ctx.Err() == nil:
			// No other try will do, and it must not be in the way of the others.
			kept = errors.Join(kept, fmt.Errorf("a message to %s was given up: %w", o.Peer, err))
		case err != nil:
			return errors.Join(kept, err)
		}
		if err := e.state.Update(func(b parley.Bucket) error { b.Delete(o.key); return nil }); err != nil {
			return errors.Join(kept, err)
		}
	}
}

// nextOut returns the oldest message for this broker, or nil.
func (e *Engine) nextOut() (o *outgoing, err error) {
	err = e.state.View(func(b parley.Bucket) error {
		for k, v := range b.Scan("out/") {
			one := outgoing{key: k}
			if json.Unmarshal(v, &one) == nil && one.Broker == e.broker.Address() {
				o = &one
				break
			}
		}
		return nil
	})
	return o, err
}

// options are what all connections to the broker have in common.
func (e *Engine) options() mqttclient.Options {
	o := mqttclient.Options{
		Broker: e.broker.Broker, MaxPacket: nes.MaxEnvelope + 4096, Start: mqttclient.Once,
		DialTimeout: 10 * time.Second, ReplyTimeout: 15 * time.Second, BackoffMax: 10 * time.Second,
	}
	if e.broker.Web != nil {
		o.Dial = e.broker.dialWeb
	}
	return o
}

func (e *Engine) dial(ctx context.Context, o mqttclient.Options) (*mqttclient.Conn, error) {
	if o.Broker.Password != "" && !e.broker.Private() {
		e.Note("The broker's password travels unencrypted: use ssl:// if the broker can.")
	}
	return mqttclient.Dial(ctx, o)
}

func (e *Engine) hangUp(c *mqttclient.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.Close(ctx)
}

// brokerError gives an error of the broker its exit code.
func (e *Engine) brokerError(err error) error {
	var own *Error
	switch {
	case err == nil || errors.As(err, &own):
		return err
	case errors.Is(err, parley.ErrDenied), errors.Is(err, parley.ErrRefused), errors.Is(err, parley.ErrFull):
		return Errorf(Network, "the broker refuses: %w", err)
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, filelock.ErrLocked):
		return Errorf(Network, "another nes is sending and does not get done")
	case errors.Is(err, parley.ErrOffline), errors.Is(err, context.DeadlineExceeded):
		hint := ""
		if e.S.Values[Broker].From == "default" {
			hint = " (one on this machine is started with: " + StartHint + ")"
		}
		if !errors.Is(err, parley.ErrOffline) {
			return Errorf(Network, "the broker %s does not answer in time: %w%s", e.S.Shown(Broker), err, hint)
		}
		return Errorf(Network, "the broker %s: %w%s", e.S.Shown(Broker), err, hint)
	}
	return err
}
