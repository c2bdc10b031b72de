// Package client speaks MQTT 3.1.1 and 5 to a broker. It has two faces: [Dial]
// gives a connection for devices (publish, subscribe, with acknowledgements that
// are given only for what was handled), and [Client] is the carrier of the
// contract, for which a topic is a mailbox.
//
// Eclipse Paho's two libraries put packets into bytes and take them out again
// (codec5.go, codec311.go: one seam over both); the session above it is one for
// both versions and ours: run.go connects, link.go reads and writes, out.go sees
// to it that what is published is acknowledged, in.go that nothing is acknowledged
// before it was handled. docs/mqtt.md has the promises.
package client

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"parley"
	"parley/carrier/mqtt"
)

// A Message is what is published.
type Message struct {
	Topic   string
	Payload []byte
	// QoS is 0 (at most once: it may get lost), 1 (at least once) or 2 (exactly
	// once, as long as the session lasts at both ends).
	QoS byte
	// Retain: when publishing, the broker is to keep it for those who subscribe
	// later, in place of the one before; an empty payload deletes that. When
	// received, it was such a stored one, and not said just now.
	Retain bool
	// Duplicate, when received: the broker may have delivered it before.
	Duplicate bool
}

// Start says what Dial waits for.
type Start uint8

const (
	// Once: Dial makes one attempt and returns its error.
	Once Start = iota
	// Retry: Dial goes on until ctx ends, but returns at once what another attempt
	// would not change: a wrong password, a wrong certificate, a refused client ID.
	Retry
	// Background: Dial returns at once; OnState tells the rest.
	Background
)

// Options say how [Dial] connects. Only Broker must be there.
type Options struct {
	Broker mqtt.Broker
	// ClientID is what the broker knows the session by: 1 to 23 letters and digits
	// are accepted by all. Give each device one of its own and keep it. Empty means
	// a random one, and a session that ends with the Conn.
	ClientID string
	Version  int // [mqtt.V311], [mqtt.V5]; 0: Broker.V, else 5 is tried before 3.1.1
	Start    Start
	// CleanStart makes the broker forget what it has of an earlier session first.
	CleanStart bool
	// SessionExpiry is how long the broker keeps the session while we are away; 0
	// means 7 days, negative that it ends with the connection. 3.1.1 knows only
	// for ever and not at all.
	SessionExpiry time.Duration
	// TLS is cloned for mqtts; nil means the system's roots and TLS 1.2. RootCAs and
	// client certificates go in here. Broker.CertSHA256 replaces its verification.
	TLS *tls.Config
	// MaxPacket is the largest packet in bytes to send or receive; 1 MiB. What a
	// broker of 3.1.1 sends beyond it is thrown away, as one of 5 itself does.
	MaxPacket int
	Will      *Message // the broker publishes it when we are gone without a word
	// OnState is told when the broker is connected, and when it is not and why
	// (nil: nobody needs it). It must return soon and not call the Conn.
	OnState func(connected bool, err error)
	// OnSession is told after each connect whether the broker still has the session.
	OnSession func(present bool)
	// Rest handles messages of the session that no Subscribe of this process asks
	// for: those of an earlier run. Without it they wait, unacknowledged, for a
	// Subscribe that takes them.
	Rest func(Message) error
	// Dial connects to HOST:PORT; nil means TCP. Proxies and faults go in here.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Jitter func() float64 // in [0,1); math/rand
	Log    *slog.Logger   // nil: none. No payload, user or password is logged

	onLoss func(error) // a subscription was not restored

	KeepAlive    time.Duration // between signs of life, up to 18 h; 60 s
	Window       int           // messages that the broker may have unacknowledged (5 only), up to 65,535; 64
	DialTimeout  time.Duration // until the broker has accepted us; 20 s
	ReplyTimeout time.Duration // until a broker that does not answer counts as dead; 30 s
	BackoffMin   time.Duration // the first pause before a new attempt is up to this; 250 ms
	BackoffMax   time.Duration // and any other up to this; 30 s
	Displaced    time.Duration // the pause after another took our client ID over; 1 min
	RetryMin     time.Duration // before a handler that failed is called again; 1 s
	RetryMax     time.Duration // before any; 1 min
}

const (
	defaultExpiry = 7 * 24 * time.Hour
	defaultPacket = 1 << 20
)

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{
		{&o.KeepAlive, time.Minute}, {&o.DialTimeout, 20 * time.Second}, {&o.ReplyTimeout, 30 * time.Second},
		{&o.BackoffMin, 250 * time.Millisecond}, {&o.BackoffMax, 30 * time.Second}, {&o.Displaced, time.Minute},
		{&o.RetryMin, time.Second}, {&o.RetryMax, time.Minute},
	} {
		if *d.p <= 0 {
			*d.p = d.v
		}
	}
	o.KeepAlive = max(min(o.KeepAlive, 65535*time.Second), time.Second)
	if o.Window <= 0 || o.Window > 65535 {
		o.Window = 64
	}
	if o.MaxPacket <= 0 || o.MaxPacket > maxRemaining {
		o.MaxPacket = defaultPacket
	}
	if o.SessionExpiry == 0 {
		o.SessionExpiry = defaultExpiry
	}
	if o.ClientID == "" {
		o.ClientID = newClientID()
		o.SessionExpiry = -1
	}
	if o.Version == 0 {
		o.Version = o.Broker.V
	}
	if o.Dial == nil {
		d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6}}
		o.Dial = d.DialContext
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// check refuses what no attempt could mend.
func (o *Options) check() error {
	switch {
	case o.Broker.Host == "" || o.Broker.Port == 0:
		return refused("no broker is given")
	case o.Version != 0 && o.Version != mqtt.V311 && o.Version != mqtt.V5:
		return refused("the version must be 4 (MQTT 3.1.1) or 5")
	case o.Broker.User == "" && o.Broker.Password != "":
		return refused("a password without a user")
	case len(o.Broker.User) > mqtt.MaxTopic || len(o.Broker.Password) > mqtt.MaxTopic:
		return refused("the user or the password is longer than 65,535 bytes")
	case mqtt.CheckTopic(o.ClientID+"x") != nil || len(o.ClientID) > mqtt.MaxTopic:
		return refused("the client ID must be UTF-8 of at most 65,535 bytes without + # and NUL")
	}
	if o.Will != nil {
		return o.Will.check()
	}
	return nil
}

func (m *Message) check() error {
	if err := mqtt.CheckTopic(m.Topic); err != nil {
		return refused(err.Error())
	}
	if m.QoS > 2 {
		return refused("QoS must be 0, 1 or 2")
	}
	return nil
}

type refused string

func (e refused) Error() string        { return parley.ErrRefused.Error() + ": " + string(e) }
func (e refused) Is(target error) bool { return target == parley.ErrRefused }
