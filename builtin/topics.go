package builtin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"

	"parley"
	"parley/carrier/mqtt"
	mqttclient "parley/carrier/mqtt/client"
	"parley/messenger"
	"parley/secure/stringphone"
)

// mostTopicPacket is the largest packet of a topic, in bytes: a text of
// [messenger.MaxText] fits, sealed in any mode.
const mostTopicPacket = messenger.MaxText + 4<<10

// topicCarrier is MQTT's client, with addresses that may say how to log in:
// mqtt://USER:PASSWORD@HOST:PORT/TOPIC. User and password go into the endpoint's
// Secret and nowhere else.
type topicCarrier struct {
	*mqttclient.Client
	o mqttclient.ClientOptions // of clients for one call
}

// newTopicCarrier makes the carrier for packets of up to max bytes.
func newTopicCarrier(max int, qos byte, o Options, tell *events) topicCarrier {
	once := mqttclient.ClientOptions{Max: max, QoS: qos, Dial: o.Dial}
	all := once
	all.OnState, all.OnMailbox, all.Log = tell.relay, tell.topic, o.Log
	return topicCarrier{Client: mqttclient.New(all), o: once}
}

var errLogin = fmt.Errorf("%w: the topic's address is not mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC", parley.ErrRefused)

// login splits user and password from an address. No error repeats any of it.
func login(a parley.Address) (clean parley.Address, user, password string, err error) {
	u, err := url.Parse(string(a))
	if err != nil {
		return "", "", "", errLogin
	}
	if u.User == nil {
		return a, "", "", nil
	}
	user = u.User.Username()
	password, _ = u.User.Password()
	if user == "" {
		return "", "", "", fmt.Errorf("%w: a password needs a user", errLogin)
	}
	u.User = nil
	return parley.Address(u.String()), user, password, nil
}

// as returns a client that logs in as the address says, for one call.
func (c topicCarrier) as(a parley.Address) (*mqttclient.Client, parley.Address, func(), error) {
	clean, user, password, err := login(a)
	if err != nil || user == "" {
		return c.Client, clean, func() {}, err
	}
	o := c.o
	o.Credentials = func(mqtt.Broker) (string, string) { return user, password }
	once := mqttclient.New(o)
	return once, clean, func() { once.Close() }, nil
}

func (c topicCarrier) Claim(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	client, clean, done, err := c.as(at)
	if err != nil {
		return parley.Endpoint{}, err
	}
	defer done()
	return client.Claim(ctx, clean)
}

func (c topicCarrier) Join(ctx context.Context, at parley.Address) (parley.Endpoint, error) {
	client, clean, done, err := c.as(at)
	if err != nil {
		return parley.Endpoint{}, err
	}
	defer done()
	return client.Join(ctx, clean)
}

// topicForms implements [messenger.Mailboxes] for MQTT: addresses travel as they
// are, and there are no invitations.
type topicForms struct{}

func (topicForms) Compact(a parley.Address) ([]byte, error) { return []byte(a), nil }

func (topicForms) Expand(b []byte) (parley.Address, error) {
	a, err := mqtt.ParseAddress(parley.Address(b))
	return a.Parley(), err
}

func (topicForms) Relay(a parley.Address) (parley.Address, error) {
	clean, _, _, err := login(a)
	if err != nil {
		return "", err
	}
	t, err := mqtt.ParseAddress(clean)
	if err != nil {
		return "", err
	}
	return parley.Address(t.Broker.Address()), nil
}

func (topicForms) Line(parley.Address) (string, error) {
	return "", fmt.Errorf("%w: a topic has no invitation: members let others in", messenger.ErrInvitation)
}

func (topicForms) ParseLine(string) (parley.Address, error) {
	return "", fmt.Errorf("%w: a topic has none", messenger.ErrInvitation)
}

func (topicForms) Bare(parley.Address) (parley.Address, error) {
	return "", fmt.Errorf("%w: mqtt: has no bare invitation", messenger.ErrInvitation)
}

// groups implements [messenger.Groups] for String phone.
type groups struct{}

func (groups) Group(c *parley.Conversation) (g messenger.Group, err error) {
	m, err := stringphone.Load(c.State, c.Post)
	if err != nil {
		return g, err
	}
	g = messenger.Group{
		Ready: m.HasKey(), Asks: m.NeedsKey(), Removed: m.Removed(),
		Mode: m.Mode().String(), Promises: stringphone.GuaranteesOf(m.Mode()), Lacks: lacks(m.Mode()),
	}
	for _, p := range m.Members() {
		by := p.By
		if by == m.ID() {
			by = stringphone.ID{}
		}
		o := member(p.Key)
		o.Trusted, o.Since = p.Trusted, p.Since
		if by != (stringphone.ID{}) {
			o.By = stringphone.NameOf(by)
		}
		if p.Self {
			g.Self = o
			continue
		}
		g.Members = append(g.Members, o)
	}
	return g, nil
}

func member(key []byte) messenger.Member {
	n := stringphone.Fingerprint(key)
	return messenger.Member{ID: stringphone.NameOf(stringphone.IDOf(key)), Key: key, Number: n[:]}
}

// lacks says what the guarantees of a mode leave open.
func lacks(m stringphone.Mode) []string {
	all := []string{"the sender is one of many members, and cannot deny what was signed"}
	switch m {
	case stringphone.Plain:
		return append(all, "who was let in once reads all that is written, for ever")
	case stringphone.Headed:
		return append(all, "who has a topic key reads all that was written under it")
	}
	return all
}

func (groups) Asker(packet []byte) (messenger.Member, error) {
	key, err := stringphone.VerifyIntro(packet)
	if err != nil {
		return messenger.Member{}, err
	}
	return member(key), nil
}

func (groups) Distrust(c *parley.Conversation, id parley.Name) error {
	b, err := hex.DecodeString(string(id))
	if err != nil || len(b) != stringphone.IDSize {
		return fmt.Errorf("%w: not a member's ID", parley.ErrRefused)
	}
	m, err := stringphone.Load(c.State, c.Post)
	if err != nil {
		return err
	}
	return m.Distrust(stringphone.ID(b))
}

func (groups) Change(key []byte) parley.Name { return parley.Name(hex.EncodeToString(key)) }

func (groups) Refusal(err error) string {
	switch {
	case errors.Is(err, stringphone.ErrUnsignedReply):
		return "nobody vouches for it, as if a device of the original had sent it. If that is so, make the conversation anew with --accept-unsigned."
	case errors.Is(err, stringphone.ErrNotPinned):
		return "it comes from another key than the pinned ones."
	case errors.Is(err, stringphone.ErrMode):
		return "the topic promises less than this conversation demands. Make the conversation anew without --mode to take the topic as it is."
	}
	return ""
}
