// Package builtin is the table of plug-ins: what this build of Parley speaks.
package builtin

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"parley"
	"parley/carrier/mqtt"
	mqttclient "parley/carrier/mqtt/client"
	"parley/carrier/relay"
	relayclient "parley/carrier/relay/client"
	"parley/carrier/smp"
	smpclient "parley/carrier/smp/client"
	"parley/internal/words"
	"parley/messenger"
	"parley/messenger/profile"
	"parley/secure/nes"
	"parley/secure/otp"
	"parley/secure/ratchet"
	"parley/secure/smpbare"
	"parley/secure/stringphone"
)

// Options say how a messenger is opened. The zero value is good.
type Options struct {
	Log      *slog.Logger  // nil: none
	Drain    time.Duration // see [messenger.Options]
	MaxTries int           // see [messenger.Options]
	// Dial makes connections to relays; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Creator returns the key that a relay lets its creators claim mailboxes
	// with, or nil.
	Creator func(relay parley.Address) crypto.Signer
}

// Registry is the table. The client serves both forms of SMP's addresses, and
// topics both of MQTT's, users those of NES, relays those of One Time Chat's relay.
func Registry(client *smpclient.Client, topics, users, relays parley.Carrier) *parley.Registry {
	var r parley.Registry
	r.Carrier(smp.Scheme, client)
	r.Carrier(smp.SchemePlain, client)
	r.Carrier(mqtt.Scheme, topics)
	r.Carrier(mqtt.SchemeTLS, topics)
	r.Carrier(schemeNES, users)
	r.Carrier(schemeNESTLS, users)
	r.Carrier(relay.Scheme, relays)
	r.Carrier(relay.SchemeTLS, relays)
	r.Transport(parley.Ratchet, ratchet.New())
	r.Transport(parley.SMPBare, smpbare.New())
	r.Transport(parley.StringPhone, stringphone.New())
	r.Transport(parley.NES, nes.New())
	r.Transport(parley.OneTimePad, otp.New(otp.V1))
	r.Transport(parley.OneTimePadV2, otp.New(otp.V2))
	return &r
}

// Open starts a messenger on a profile that was opened with
// [messenger.Migrations]. Closing it ends its connections; the profile stays
// open and is the caller's.
func Open(p *profile.Profile, o Options) (*messenger.Messenger, error) {
	var tell events
	client := smpclient.New(smpclient.Options{
		Dial: o.Dial, Creator: o.Creator, OnState: tell.relay, OnMailbox: tell.mailbox,
	})
	topics := newTopicCarrier(mostTopicPacket, 1, o, &tell)
	users := nesCarrier{newTopicCarrier(nes.MaxEnvelope, 2, o, &tell)}
	relays := relayclient.New(relayclient.Options{Max: mostRelayPacket, OnState: tell.relay, OnMailbox: tell.mailbox})
	keptPads := newPads()
	m, err := messenger.Open(context.Background(), messenger.Options{
		Profile: p, Registry: Registry(client, topics, users, relays),
		Number: number, Words: forms, Groups: groups{}, Pads: keptPads, Mailboxes: mailboxes,
		Systems: map[string]messenger.System{NES: nesSystem{dial: o.Dial, log: o.Log}}, Events: tell.connect,
		Log: o.Log, Drain: o.Drain, MaxTries: o.MaxTries,
		OnClose: func() error {
			return errors.Join(client.Close(), topics.Close(), users.Close(), relays.Close(), keptPads.close())
		},
	})
	if err != nil {
		client.Close()
		topics.Close()
		users.Close()
		relays.Close()
		err = errors.Join(err, keptPads.close())
	}
	return m, err
}

// mailboxes are the forms of the carriers' addresses.
var mailboxes = map[string]messenger.Mailboxes{
	smp.Scheme: smpForms{}, smp.SchemePlain: smpForms{}, mqtt.Scheme: topicForms{}, mqtt.SchemeTLS: topicForms{},
	schemeNES: nesForms{}, schemeNESTLS: nesForms{}, relay.Scheme: relayForms{}, relay.SchemeTLS: relayForms{},
}

// mostRelayPacket is the largest packet for a relay of One Time Chat's, in bytes: a text
// of [messenger.MaxText] fits.
const mostRelayPacket = messenger.MaxText + 4<<10

// number is what two people compare on a line; nil while there is nothing.
func number(c *parley.Conversation) []byte {
	if c.STP != parley.Ratchet {
		return nil
	}
	n, err := ratchet.SafetyNumber(c)
	if err != nil {
		return nil
	}
	return n
}

// forms puts a safety number into forms for people.
func forms(n []byte) (s messenger.SafetyNumber) {
	// Each fails for numbers that are too short, which the ratchet's are not.
	s.Words, _ = words.Words(n)
	s.Digits, _ = words.Digits(n)
	s.QR, _ = words.QR(n)
	return s
}

// events passes on what the client tells to the messenger, which comes later.
type events struct {
	mu     sync.Mutex
	onLink func(parley.Address, bool, error)
	onBox  func(parley.Endpoint, error)
}

func (e *events) connect(relay func(parley.Address, bool, error), mailbox func(parley.Endpoint, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onLink, e.onBox = relay, mailbox
}

func (e *events) relay(at parley.Address, connected bool, err error) {
	e.mu.Lock()
	f := e.onLink
	e.mu.Unlock()
	if f != nil {
		f(at, connected, err)
	}
}

func (e *events) mailbox(at parley.Endpoint, err error) {
	e.mu.Lock()
	f := e.onBox
	e.mu.Unlock()
	if f != nil {
		f(at, err)
	}
}

// topic passes on trouble with a topic.
func (e *events) topic(at parley.Endpoint, err error) {
	if errors.Is(err, mqttclient.ErrSessionLost) {
		err = fmt.Errorf("%w: %w", messenger.ErrMissed, err)
	}
	e.mailbox(at, err)
}
