package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"parley/carrier/mqtt"
	mqttclient "parley/carrier/mqtt/client"
	"parley/internal/bucketfile"
	"parley/internal/live"
	"parley/secure/stringphone"
)

// The live commands take part in a topic over a real broker. What they have in
// common: where the topic is, what we remember of it, and who we are in it.

// topicAt says where the topic is.
type topicAt struct {
	Broker  string `short:"b" required:"" placeholder:"URL" env:"PARLEY_MQTT_BROKER" help:"mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS. The password is PARLEY_MQTT_PASSWORD's: a command line can be seen by others."`
	Name    string `short:"t" name:"topic-name" required:"" placeholder:"TOPIC" help:"The MQTT topic."`
	State   string `placeholder:"FILE" type:"path" help:"What we remember of the topic: keys, members, what was seen. By default a file in parley/topics in the user's configuration folder."`
	CA      string `placeholder:"FILE" type:"path" help:"PEM file with the certificates that vouch for the broker; by default the system's."`
	QoS     int    `name:"qos" default:"1" enum:"0,1,2" help:"Quality of service: 0 may lose messages, 1 and 2 do not."`
	Hex     bool   `help:"Payloads in hex, as the original's mqtt.py writes them; a topic made or joined so is plain."`
	Version string `name:"mqtt" default:"auto" enum:"auto,3.1.1,5" help:"MQTT version (auto, 3.1.1, 5)."`
}

// topicSelf says who we are when the state is made.
type topicSelf struct {
	Identity       string   `placeholder:"FILE" type:"path" help:"Our identity, for the first time; by default a new one."`
	Topic          string   `placeholder:"FILE" type:"path" help:"The topic key, if we have it in a file."`
	Mode           string   `default:"auto" enum:"auto,plain,headed,forward-secret" help:"What the topic promises (docs/stringphone-modes.md): plain, headed, forward-secret. Who joins takes over what the topic is; a new one is headed, and one from a key file plain."`
	Trust          []string `placeholder:"PUBKEY" sep:"none" help:"Listen to this member: its public key in base64, or @FILE. Repeatable."`
	Pin            []string `placeholder:"PUBKEY" sep:"none" help:"Take the topic key from this member only. Repeatable."`
	AcceptUnsigned bool     `help:"Take a topic key for which nobody vouches: the original's devices sign none."`
	ManualType     bool     `help:"Speak the message type of the manual, which no library speaks."`
	found          bool     // make a new topic
}

// here is an open topic.
type here struct {
	a      *app
	at     *topicAt
	broker mqtt.Broker
	tls    *tls.Config
	file   *bucketfile.File
	made   bool
}

func (h *here) close() error { return h.file.Close() }

// open finds the topic's state, or makes it if self says who we are in it.
func (t *topicAt) open(a *app, self *topicSelf) (*here, error) {
	h := &here{a: a, at: t}
	var err error
	if self != nil {
		if err := pinsOrUnsigned(self.Pin, self.AcceptUnsigned); err != nil {
			return nil, err
		}
	}
	if h.broker, err = mqtt.ParseBroker(t.Broker); err != nil {
		return nil, usage("-b: %w", err)
	}
	if err := mqtt.CheckTopic(t.Name); err != nil {
		return nil, usage("-t: %w", err)
	}
	if p := os.Getenv("PARLEY_MQTT_PASSWORD"); p != "" && h.broker.Password == "" {
		h.broker.Password = p
	}
	if h.tls, err = caConfig(t.CA); err != nil {
		return nil, err
	}
	path := t.State
	if path == "" {
		if path, err = defaultState(h.broker, t.Name); err != nil {
			return nil, err
		}
	}
	h.file, err = bucketfile.Open(path)
	if errors.Is(err, fs.ErrNotExist) && self != nil {
		h.made = true
		h.file, err = self.make(a, path, t)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &kindError{errNoTopic, fmt.Errorf("nothing is known of the topic %s at %s (no file %s): join it first", t.Name, h.broker.Address(), path)}
	case err != nil:
		return nil, fmt.Errorf("the topic's state: %w", err)
	}
	return h, nil
}

var errNoTopic = errors.New("no such topic")

func caConfig(path string) (*tls.Config, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, usage("--ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usage("--ca: %s has no certificate in PEM", path)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// defaultState is a file whose name tells nothing of the topic.
func defaultState(b mqtt.Broker, topic string) (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", usage("no configuration folder (%w): give --state FILE", err)
	}
	sum := sha256.Sum256([]byte(b.HostPort() + "\x00" + topic))
	return filepath.Join(dir, "parley", "topics", hex.EncodeToString(sum[:8])), nil
}

// make makes the state of somebody who was never in the topic.
func (s *topicSelf) make(a *app, path string, at *topicAt) (*bucketfile.File, error) {
	setup := stringphone.Setup{Name: at.Name, AcceptUnsigned: s.AcceptUnsigned, ManualType: s.ManualType, Found: s.found}
	var err error
	if setup.Mode, err = s.mode(at.Hex); err != nil {
		return nil, err
	}
	if s.Identity != "" {
		if setup.Seed, err = readKey(a, "identity", s.Identity); err != nil {
			return nil, err
		}
	}
	if s.Topic != "" {
		if setup.TopicKey, err = readKey(a, "topic key", s.Topic); err != nil {
			return nil, err
		}
		setup.Found = false
	}
	if setup.Trust, err = publicKeys("--trust", s.Trust); err != nil {
		return nil, err
	}
	if setup.Pins, err = publicKeys("--pin", s.Pin); err != nil {
		return nil, err
	}
	f, err := bucketfile.Create(path)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return bucketfile.Open(path)
	}
	if err != nil {
		return nil, err
	}
	if err := live.Setup(f, setup); err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return f, nil
}

func (s *topicSelf) mode(hexed bool) (stringphone.Mode, error) {
	switch {
	case hexed && s.Mode != "auto" && s.Mode != "plain":
		return 0, usage("--hex speaks with the original's devices, which know plain topics only")
	case s.Mode == "headed", s.Mode == "auto" && s.found && !hexed:
		return stringphone.Headed, nil
	case s.Mode == "forward-secret":
		return stringphone.ForwardSecret, nil
	}
	return stringphone.Plain, nil
}

// adjust carries what the command line says over to a state that is there, and
// refuses what cannot be changed any more.
func (s *topicSelf) adjust(h *here, session *live.Session) error {
	if h.made {
		return nil
	}
	st, err := session.Status()
	if err != nil {
		return err
	}
	another := func(what string) error {
		return usage("the topic's state %s %s: give another --state, or leave that out", h.file.Path(), what)
	}
	if s.Mode != "auto" {
		if mode, err := s.mode(h.at.Hex); err != nil {
			return err
		} else if mode != st.Mode {
			return another("is " + st.Mode.String())
		}
	}
	if h.at.Hex && st.Joined && st.Mode != stringphone.Plain {
		return another("is " + st.Mode.String() + ", and --hex speaks with devices that know plain topics only")
	}
	if s.ManualType && !st.Manual {
		return another("has the library's message type")
	}
	if s.Topic != "" && !st.HasKey {
		return another("was made without a topic key")
	}
	pins, err := publicKeys("--pin", s.Pin)
	if err != nil {
		return err
	}
	if err := session.AnsweredBy(pins, s.AcceptUnsigned); err != nil {
		return err
	}
	keys, err := publicKeys("--trust", s.Trust)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := session.Trust(k); err != nil {
			return err
		}
	}
	if s.Identity != "" {
		seed, err := readKey(h.a, "identity", s.Identity)
		if err != nil {
			return err
		}
		signer, err := stringphone.NewSigner(seed)
		if err != nil {
			return err
		}
		if !bytes.Equal(signer.PublicKey(), st.Key) {
			return another("belongs to another identity (" + st.ID.String() + ")")
		}
	}
	return nil
}

// channel connects to the broker. Each of our processes needs a client ID of its
// own: purpose tells them apart, and the broker keeps a session for each.
func (h *here) channel(id stringphone.ID, purpose string, tell func(connected bool, err error)) *channel {
	sum := sha256.Sum256([]byte(id.String() + "\x00" + h.at.Name + "\x00" + purpose))
	version := map[string]int{"3.1.1": mqtt.V311, "5": mqtt.V5}[h.at.Version]
	c := &channel{topic: h.at.Name, qos: byte(h.at.QoS), heard: make(chan struct{}, 1)}
	c.o = mqttclient.Options{
		Broker: h.broker, TLS: h.tls, Version: version, Start: mqttclient.Retry,
		ClientID: "parley" + hex.EncodeToString(sum[:8]), OnState: tell,
		OnSession: func(present bool) {
			if !present {
				c.anew.Store(true)
			}
		},
		MaxPacket: 64 << 20,
	}
	return c
}

// channel is a topic at a broker, as package live wants it.
type channel struct {
	topic string
	qos   byte
	o     mqttclient.Options
	heard chan struct{} // one token: something has come
	count atomic.Int64  // what has come
	anew  atomic.Bool   // the broker did not know the session

	mu   sync.Mutex
	conn *mqttclient.Conn
}

// dial connects. The errors of the client say what is wrong; a broker that is
// away is waited for.
func (c *channel) dial(ctx context.Context) error {
	conn, err := mqttclient.Dial(ctx, c.o)
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("the broker %s: %w", c.o.Broker.Address(), err)
	}
	return nil
}

func (c *channel) Publish(ctx context.Context, payload []byte, retain bool) error {
	return c.conn.Publish(ctx, mqttclient.Message{Topic: c.topic, Payload: payload, QoS: c.qos, Retain: retain})
}

func (c *channel) Receive(ctx context.Context, take func(payload []byte, retained bool) error) error {
	failed := make(chan error, 1)
	err := c.conn.Subscribe(ctx, c.topic, c.qos, func(m mqttclient.Message) error {
		c.count.Add(1)
		err := take(m.Payload, m.Retain)
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
		select {
		case c.heard <- struct{}{}:
		default:
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("the topic %s: %w", c.topic, err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return err
	}
}

// close says good-bye to the broker.
func (c *channel) close() {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	_ = conn.Close(ctx) // what was not acknowledged comes again
}

// What is waited for before something is sealed: silence for a while after we have
// subscribed, within a limit.
const (
	quietPause = 200 * time.Millisecond
	quietLimit = 30 * time.Second
	// crowd is how many messages a broker keeps for a session at least, before it
	// throws some away without a word: Mosquitto 1,000, as it comes.
	crowd = 500
)

// quiet waits until nothing has come for a while, and reports whether there was so
// much that a broker may have thrown some away, or so much that it does not end.
func (c *channel) quiet(ctx context.Context) (crowded bool) {
	end := time.NewTimer(quietLimit)
	defer end.Stop()
	for {
		idle := time.NewTimer(quietPause)
		select {
		case <-c.heard:
			idle.Stop()
			continue
		case <-idle.C:
			return c.count.Load() >= crowd
		case <-end.C:
		case <-ctx.Done():
		}
		idle.Stop()
		return true
	}
}

// short is how a member is shown where there is little room.
func short(id stringphone.ID) string { return id.String()[:8] }

// words13 is a key's fingerprint in words.
func words13(key ed25519.PublicKey) string {
	p, err := whoIs(key)
	if err != nil {
		return ""
	}
	return joinWords(p.Fingerprint)
}
