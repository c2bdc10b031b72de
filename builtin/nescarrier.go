package builtin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"parley"
	"parley/carrier/mqtt"
	mqttclient "parley/carrier/mqtt/client"
	"parley/messenger"
	"parley/secure/nes"
)

// Schemes of addresses of NES's users: nes://[USER:PASSWORD@]HOST[:PORT]/NAME stands
// for the topic nes/NAME/message at that broker, ness: the same over TLS.
const (
	schemeNES    = "nes"
	schemeNESTLS = "ness"
)

// mostNESText is the longest text that is sent, in bytes: whatever is in it, its
// envelope fits the megabyte that brokers take if they are not told otherwise (JSON may
// need six bytes for one, base64 four for three). Others may send more.
const mostNESText = 96 << 10

// nesCarrier is MQTT's client with addresses of users, and QoS 2 as the original has
// it. Endpoints are those of the client.
type nesCarrier struct{ topicCarrier }

func (c nesCarrier) Claim(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	topic, err := nesTopic(at)
	if err != nil {
		return parley.Endpoint{}, err
	}
	return c.topicCarrier.Claim(ctx, topic)
}

func (c nesCarrier) Join(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	topic, err := nesTopic(at)
	if err != nil {
		return parley.Endpoint{}, err
	}
	return c.topicCarrier.Join(ctx, topic)
}

var errNESAddress = fmt.Errorf("%w: not nes://[USER[:PASSWORD]@]HOST[:PORT]/NAME", parley.ErrRefused)

// nesTopic is where a user receives. No error repeats the address.
func nesTopic(a parley.Address) (parley.Address, error) {
	u, err := url.Parse(string(a))
	if err != nil {
		return "", errNESAddress
	}
	switch u.Scheme {
	case schemeNES:
		u.Scheme = mqtt.Scheme
	case schemeNESTLS:
		u.Scheme = mqtt.SchemeTLS
	default:
		return "", errNESAddress
	}
	name := strings.TrimPrefix(u.Path, "/")
	if err := nes.CheckName(name); err != nil {
		return "", fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	u.Path, u.RawPath = "/"+nes.Topic(name), ""
	return parley.Address(u.String()), nil
}

// nesForms implements [messenger.Mailboxes]: there are no invitations.
type nesForms struct{ topicForms }

// Relay returns the broker, as MQTT's client calls it, also for a broker's own address.
func (f nesForms) Relay(a parley.Address) (parley.Address, error) {
	topic, err := nesTopic(a)
	if err != nil {
		return "", err
	}
	return f.topicForms.Relay(topic)
}

// Mailbox implements [messenger.System].
func (nesSystem) Mailbox(server parley.Address, user string) (parley.Address, error) {
	if err := nes.CheckName(user); err != nil {
		return "", fmt.Errorf("%w: %w", messenger.ErrState, err)
	}
	u, err := url.Parse(string(server))
	if err != nil || u.Scheme != mqtt.Scheme && u.Scheme != mqtt.SchemeTLS || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("%w: the broker's address is not mqtt://[USER[:PASSWORD]@]HOST[:PORT] or mqtts://…", messenger.ErrNoRelay)
	}
	if u.Scheme = schemeNES; strings.HasPrefix(string(server), mqtt.SchemeTLS+":") {
		u.Scheme = schemeNESTLS
	}
	u.Path = "/" + user
	at := parley.Address(u.String())
	if _, err := (nesForms{}).Relay(at); err != nil {
		return "", fmt.Errorf("%w: %w", messenger.ErrNoRelay, err)
	}
	return at, nil
}

// Presence travels as sealed envelopes at topics of its own, which the broker keeps
// for those who come later: nes/RECIPIENT/status/SENDER. Clients of the original's kind
// do not read them.
func statusTopic(to, from string) string { return "nes/" + to + "/status/" + from }

// Presence implements [messenger.Presenter].
func (s nesSystem) Presence(ctx context.Context, server parley.Address, self string, tell <-chan messenger.Word, connected func(), heard func([]byte)) error {
	clean, user, password, err := login(server)
	if err != nil {
		return err
	}
	broker, err := mqtt.ParseBroker(string(clean))
	if err != nil {
		return fmt.Errorf("%w: the broker's address: %w", parley.ErrRefused, err)
	}
	broker.User, broker.Password = user, password
	log := s.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	conn, err := mqttclient.Dial(ctx, mqttclient.Options{
		Broker: broker, Start: mqttclient.Retry, Dial: s.dial, Log: log,
		OnSession: func(bool) { connected() },
	})
	if err != nil {
		return err
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second/2)
		defer cancel()
		conn.Close(bye)
	}()
	err = conn.Subscribe(ctx, statusTopic(self, "+"), 1, func(m mqttclient.Message) error {
		if len(m.Payload) > 0 && len(m.Payload) <= nes.MaxEnvelope {
			heard(m.Payload)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case w, more := <-tell:
			if !more {
				return nil
			}
			err := conn.Publish(ctx, mqttclient.Message{Topic: statusTopic(w.User, self), Payload: w.Packet, QoS: 1, Retain: true})
			if err != nil && !errors.Is(err, parley.ErrDenied) && !errors.Is(err, parley.ErrFull) {
				return err
			}
		}
	}
}

// dialer is how connections to brokers are made.
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)
