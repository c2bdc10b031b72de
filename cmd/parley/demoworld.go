package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"parley"
	"parley/builtin"
	"parley/messenger"
	"parley/messenger/profile"
	"parley/server"
)

// A demo is a small world in one process: a relay, and two people who talk over
// it as they would from two machines. Only the network between is ours, to cut.
type demo struct {
	a          *app
	dir        string
	begun      time.Time
	relay      *server.Server
	address    string
	people     []*person
	alice, bob *person
	sent       []sentMessage
	closed     bool
}

// A sentMessage is one of the scripted messages.
type sentMessage struct {
	messenger.Message
	n    int
	from string
}

// A person is one messenger, with what its owner has seen.
type person struct {
	name    string
	net     *network
	profile *profile.Profile
	api     *messenger.Messenger
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu        sync.Mutex
	moved     chan struct{} // closed and replaced with each change
	connected bool
	heard     []string // texts, in the order shown
	echo      bool
	reached   map[string]map[messenger.State]time.Time // by message ID
}

func newDemo(a *app) (*demo, error) {
	dir, err := os.MkdirTemp("", "parley-demo-")
	if err != nil {
		return nil, err
	}
	return &demo{a: a, dir: dir, begun: time.Now()}, nil
}

func (d *demo) startRelay(at string) (err error) {
	d.relay, err = server.Start(server.Config{Data: filepath.Join(d.dir, "relay"), SMP2020: at}, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("the demo's relay: %w", err)
	}
	d.address = d.relay.Addresses()[0]
	return nil
}

func (d *demo) stopRelay(ctx context.Context) error {
	if d.relay == nil {
		return nil
	}
	err := d.relay.Shutdown(ctx)
	d.relay = nil
	return err
}

func (d *demo) newPerson(ctx context.Context, name string) (*person, error) {
	p := &person{name: name, net: &network{conns: make(map[net.Conn]bool), up: true}, moved: make(chan struct{}), reached: make(map[string]map[messenger.State]time.Time)}
	var err error
	p.profile, err = profile.Create(filepath.Join(d.dir, name), profile.Options{Secret: profile.Passphrase(rand.Text()), Migrations: messenger.Migrations})
	if err != nil {
		return nil, err
	}
	err = messenger.SaveSettings(ctx, p.profile, messenger.Settings{Name: name, Relays: []parley.Address{parley.Address(d.address)}, Receipts: "read"})
	if err == nil {
		p.api, err = builtin.Open(p.profile, builtin.Options{Dial: p.net.dial})
	}
	if err != nil {
		return nil, errors.Join(err, p.profile.Close())
	}
	live, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.wg.Go(func() { p.api.Watch(live, p.change) })
	p.wg.Go(func() { p.api.Listen(live, "", func(m messenger.Message) error { return p.hear(live, m) }) })
	return p, nil
}

// close ends everything and removes the folder. It may be called twice.
func (d *demo) close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	var errs []error
	for _, p := range d.people {
		p.cancel()
		errs = append(errs, p.api.Close(), p.profile.Close())
		p.wg.Wait()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	errs = append(errs, d.stopRelay(ctx), os.RemoveAll(d.dir))
	return errors.Join(errs...)
}

func (d *demo) person(name string) *person {
	if name == d.alice.name {
		return d.alice
	}
	return d.bob
}

// send lets p write to the other one, and notes it for the verdict.
func (d *demo) send(ctx context.Context, p *person, text string) error {
	to := d.bob
	if p == d.bob {
		to = d.alice
	}
	m, err := p.api.Send(ctx, to.name, text)
	if err != nil {
		return err
	}
	d.sent = append(d.sent, sentMessage{m, len(d.sent) + 1, p.name})
	d.say(p.name, "writes (%d): %s", len(d.sent), text)
	return nil
}

// arrived waits until everything sent so far was shown to whom it is for.
func (d *demo) arrived(ctx context.Context) error {
	for _, p := range d.people {
		want := 0
		for _, m := range d.sent {
			if m.from != p.name {
				want++
			}
		}
		if err := p.until(ctx, func() bool { return len(p.heard) >= want }); err != nil {
			return fmt.Errorf("%s still waits for messages: %w", p.name, err)
		}
	}
	d.say("both", "have everything that was written so far")
	return nil
}

// setEcho lets Bob answer everything that he hears.
func (d *demo) setEcho() {
	d.bob.mu.Lock()
	defer d.bob.mu.Unlock()
	d.bob.echo = true
}

// change notes how far messages get, and that the other one is there.
func (p *person) change(c messenger.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := c.Message; m != nil && m.Direction == "out" {
		if p.reached[m.ID] == nil {
			p.reached[m.ID] = make(map[messenger.State]time.Time)
		}
		if p.reached[m.ID][m.State].IsZero() {
			p.reached[m.ID][m.State] = time.Now()
		}
	}
	if c.Contact != nil && c.Contact.State == "connected" {
		p.connected = true
	}
	p.step()
	return nil
}

func (p *person) hear(ctx context.Context, m messenger.Message) error {
	if m.Kind != "text" {
		return nil
	}
	p.mu.Lock()
	p.heard = append(p.heard, m.Text)
	echo := p.echo
	p.step()
	p.mu.Unlock()
	if !echo {
		return nil
	}
	_, err := p.api.Send(ctx, m.Contact, "echo: "+m.Text)
	return err
}

func (p *person) step() {
	close(p.moved)
	p.moved = make(chan struct{})
}

func (p *person) texts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.heard...)
}

// until waits for something that is true of p; is is called with p.mu held.
func (p *person) until(ctx context.Context, is func() bool) error {
	for {
		p.mu.Lock()
		ok, moved := is(), p.moved
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A network is what one person's machine is plugged into.
type network struct {
	mu    sync.Mutex
	up    bool
	conns map[net.Conn]bool
}

var errUnplugged = errors.New("the network is unplugged")

func (n *network) dial(ctx context.Context, proto, address string) (net.Conn, error) {
	n.mu.Lock()
	up := n.up
	n.mu.Unlock()
	if !up {
		return nil, &net.OpError{Op: "dial", Net: proto, Err: errUnplugged}
	}
	c, err := new(net.Dialer).DialContext(ctx, proto, address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		c.Close()
		return nil, &net.OpError{Op: "dial", Net: proto, Err: errUnplugged}
	}
	n.conns[c] = true
	return c, nil
}

// cut closes all connections and returns how many there were.
func (n *network) cut() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for c := range n.conns {
		if c.Close() == nil { // those that had ended say so
			count++
		}
	}
	clear(n.conns)
	return count
}

// set plugs in or unplugs.
func (n *network) set(up bool) {
	n.mu.Lock()
	n.up = up
	n.mu.Unlock()
	if !up {
		n.cut()
	}
}
