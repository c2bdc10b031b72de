package builtin_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/carrier/mqtt"
	mqttclient "parley/carrier/mqtt/client"
	mqttserver "parley/carrier/mqtt/server"
	"parley/messenger"
	"parley/secure/stringphone"
)

// A topicBroker is the embedded broker on a port that stays.
type topicBroker struct {
	t      *testing.T
	o      mqttserver.Options
	at     string
	server *mqttserver.Server
	ended  chan error
}

func newBroker(t *testing.T, users string) *topicBroker {
	b := &topicBroker{t: t, at: "127.0.0.1:0", o: mqttserver.Options{Dir: t.TempDir(), Anonymous: users == ""}}
	if users != "" {
		var err error
		if b.o.Users, err = mqttserver.ParseUsers(strings.NewReader(users)); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *topicBroker) start() {
	b.t.Helper()
	var err error
	if b.server, err = mqttserver.New(b.o); err != nil {
		b.t.Fatal(err)
	}
	l, err := net.Listen("tcp", b.at)
	if err != nil {
		b.t.Fatal(err)
	}
	b.at = l.Addr().String()
	b.ended = make(chan error, 1)
	go func(s *mqttserver.Server, ended chan error) { ended <- s.Serve(l) }(b.server, b.ended)
}

func (b *topicBroker) stop() {
	if b.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b.server.Shutdown(ctx)
	<-b.ended
	b.server = nil
}

func (b *topicBroker) options(s stringphone.Setup) messenger.ConversationOptions {
	s.Name = "home/lamps"
	setup, err := s.MarshalBinary()
	if err != nil {
		b.t.Fatal(err)
	}
	return messenger.ConversationOptions{Name: "lamps", STP: parley.StringPhone, Bare: true, Address: "mqtt://" + b.at + "/home/lamps", Setup: setup}
}

func (p *person) join(o messenger.ConversationOptions) messenger.Person {
	p.t.Helper()
	if _, err := p.AddConversation(patience(p.t), o); err != nil {
		p.t.Fatal(err)
	}
	return p.people()[0]
}

func (p *person) people() []messenger.Person {
	p.t.Helper()
	all, err := p.People(p.t.Context(), "lamps")
	if err != nil {
		p.t.Fatal(err)
	}
	return all
}

// until waits for something that a change tells about.
func (p *person) until(what string, ok func() bool) {
	p.t.Helper()
	ctx := patience(p.t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s, _ := p.Status(context.Background())
			q, _ := p.Queue(context.Background())
			h, _ := p.History(context.Background(), "lamps", 0)
			p.t.Fatalf("%s: no %s: %+v %+v %+v", p.dir, what, s, q, h)
		}
	}
}

func (p *person) letIn(o messenger.Person) {
	p.t.Helper()
	p.until("request", func() bool {
		return slices.ContainsFunc(p.people(), func(q messenger.Person) bool { return q.ID == o.ID && q.State == "asks" })
	})
	if _, err := p.Admit(p.t.Context(), "lamps", strings.Join(o.Words, " ")); err != nil {
		p.t.Fatal(err)
	}
}

// textsOf returns what has come from one member.
func (p *person) textsOf(id string) (all []string) {
	p.t.Helper()
	h, err := p.History(p.t.Context(), "lamps", 0)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range h {
		if m.Direction == "in" && m.Kind == "text" && m.From == id[:8] {
			all = append(all, m.Text)
		}
	}
	return all
}

// TestTopic: three profiles, the real client and the embedded broker. They write
// at once while the broker is restarted and members are away; each message is
// with both others exactly once, in its sender's order.
func TestTopic(t *testing.T) {
	for _, mode := range []stringphone.Mode{stringphone.Headed, stringphone.ForwardSecret} {
		t.Run(mode.String(), func(t *testing.T) {
			b := newBroker(t, "")
			all := []*person{newPerson(t, "alice"), newPerson(t, "bob"), newPerson(t, "carol")}
			ids := make([]string, 3)
			// In whatever order they come: Bob asks before there is a topic.
			bob := all[1].join(b.options(stringphone.Setup{}))
			ids[0] = all[0].join(b.options(stringphone.Setup{Found: true, Mode: mode})).ID
			all[0].letIn(bob)
			all[1].met("lamps")
			carol := all[2].join(b.options(stringphone.Setup{}))
			all[1].letIn(carol)
			all[2].met("lamps")
			ids[1], ids[2] = bob.ID, carol.ID
			for _, p := range all {
				p.until("three members", func() bool { c, err := p.Contact(t.Context(), "lamps"); return err == nil && c.Members == 3 })
			}
			var want [3][]string
			say := func(i int, n int) {
				for range n {
					text := fmt.Sprintf("%d from %d", len(want[i]), i)
					if _, err := all[i].Send(t.Context(), "lamps", text); err != nil {
						t.Fatal(err)
					}
					want[i] = append(want[i], text)
				}
			}
			say(0, 5)
			say(1, 5)
			b.stop()
			say(1, 5)
			say(2, 5)
			all[2].stop() // away, with what it has not sent
			b.start()
			say(0, 5)
			all[0].until("all at the broker", func() bool { c, err := all[0].Contact(t.Context(), "lamps"); return err == nil && c.Queued == 0 })
			all[1].stop()
			b.stop()
			b.start()
			say(0, 3)
			all[2].start()
			all[1].start()
			say(2, 3)
			say(1, 3)
			for i, p := range all {
				for j, id := range ids {
					if i != j {
						p.until(fmt.Sprintf("%d messages of %d", len(want[j]), j), func() bool { return len(p.textsOf(id)) >= len(want[j]) })
						if got := p.textsOf(id); !slices.Equal(got, want[j]) {
							t.Errorf("%d has of %d %q", i, j, got)
						}
					}
				}
			}
			s, err := all[0].Status(t.Context())
			if err != nil || len(s.Relays) != 1 || s.Relays[0].Address != "mqtt://"+b.at || !s.Relays[0].Connected || s.Dropped != 0 {
				t.Errorf("%+v %v", s, err)
			}
			// Who is expelled reads nothing newer.
			if p, err := all[0].Expel(t.Context(), "lamps", ids[1]); err != nil || p.State != "expelled" {
				t.Fatal(p, err)
			}
			all[1].until("word of it", func() bool { return all[1].people()[0].State == "removed" })
			all[0].say("lamps", "without Bob", messenger.AtRelay)
			all[2].until("the new key", func() bool { return slices.Contains(all[2].textsOf(ids[0]), "without Bob") })
			if slices.Contains(all[1].textsOf(ids[0]), "without Bob") {
				t.Error("who was expelled still reads")
			}
		})
	}
}

// TestTopicDevice: a device with the library alone, and one of the messenger's
// conversations, in the original's format.
func TestTopicDevice(t *testing.T) {
	b := newBroker(t, "")
	key := stringphone.GenerateTopicKey()
	device, err := stringphone.NewTopic(stringphone.Options{TopicKey: key})
	if err != nil {
		t.Fatal(err)
	}
	at, err := mqtt.ParseBroker("mqtt://" + b.at)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := mqttclient.Dial(patience(t), mqttclient.Options{Broker: at})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	heard := make(chan []byte, 16)
	if err := conn.Subscribe(patience(t), "home/lamps", 1, func(m mqttclient.Message) error { heard <- m.Payload; return nil }); err != nil {
		t.Fatal(err)
	}
	publish := func(payload []byte, retain bool) {
		t.Helper()
		if err := conn.Publish(patience(t), mqttclient.Message{Topic: "home/lamps", Payload: payload, QoS: 1, Retain: retain}); err != nil {
			t.Fatal(err)
		}
	}
	// A retained message from before is shown once, however often it comes.
	reading, err := device.Encode([]byte("21.5"))
	if err != nil {
		t.Fatal(err)
	}
	publish(reading, true)
	a := newPerson(t, "alice")
	self := a.join(b.options(stringphone.Setup{TopicKey: key, Trust: []ed25519.PublicKey{device.PublicKey()}}))
	if got := a.hearOne(); got != "21.5" {
		t.Fatal(got)
	}
	publish([]byte("not of the topic"), false)
	second, _ := device.Encode([]byte("22"))
	publish(second, false)
	publish(second, false)
	if got := a.hearOne(); got != "22" {
		t.Fatal(got)
	}
	a.stop()
	a.start()
	a.say("lamps", "switch off", messenger.AtRelay)
	if err := device.AddParticipant(publicKey(t, self.Key)); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case p := <-heard:
			plain, err := device.Decode(p)
			if err == nil && string(plain) == "switch off" {
				if got := a.texts("lamps"); len(got) != 2 {
					t.Fatal(got)
				}
				return
			}
		case <-patience(t).Done():
			t.Fatal("the device heard nothing")
		}
	}
}

// TestTopicLogin: user and password log in, and stand nowhere that is shown.
func TestTopicLogin(t *testing.T) {
	b := newBroker(t, usersFile(t, "house", "open q0z9s3cr3t"))
	a := newPerson(t, "alice")
	o := b.options(stringphone.Setup{Found: true})
	for _, login := range []string{"", "house:wrong@", "nobody:open%20q0z9s3cr3t@"} {
		o.Address = "mqtt://" + login + b.at + "/home/lamps"
		_, err := a.AddConversation(patience(t), o)
		if !errors.Is(err, parley.ErrDenied) || strings.Contains(err.Error(), "q0z9s3cr3t") || strings.Contains(err.Error(), "wrong@") {
			t.Fatalf("%q: %v", login, err)
		}
	}
	if all, err := a.Contacts(t.Context()); err != nil || len(all) > 0 {
		t.Fatal(all, err)
	}
	b.stop()
	o.Address = "mqtt://house:open%20q0z9s3cr3t@" + b.at + "/home/lamps"
	if _, err := a.AddConversation(patience(t), o); err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		s, err1 := a.Status(t.Context())
		c, err2 := a.Contacts(t.Context())
		q, err3 := a.Queue(t.Context())
		out, err4 := json.Marshal([]any{s, c, q})
		if err := errors.Join(err1, err2, err3, err4); err != nil || strings.Contains(string(out), "q0z9s3cr3t") || strings.Contains(string(out), "house") {
			t.Fatalf("%s %v", out, err)
		}
	}
	look()
	b.start()
	a.say("lamps", "hello", messenger.AtRelay)
	a.met("lamps")
	look()
	a.stop()
	a.start()
	a.say("lamps", "again", messenger.AtRelay)
	if err := a.Remove(t.Context(), "lamps"); err != nil {
		t.Fatal(err)
	}
}

func usersFile(t *testing.T, name, password string) string {
	line, err := mqttserver.HashPassword(name, []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return line + "\n"
}

func publicKey(t *testing.T, s string) ed25519.PublicKey {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTopicForgotten: a broker that has lost its memory is told in the
// conversation, once, and everything goes on.
func TestTopicForgotten(t *testing.T) {
	b := newBroker(t, "")
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	id := alice.join(b.options(stringphone.Setup{Found: true, Mode: stringphone.Headed})).ID
	alice.letIn(bob.join(b.options(stringphone.Setup{})))
	bob.met("lamps")
	alice.say("lamps", "one", messenger.AtRelay)
	bob.until("one", func() bool { return len(bob.textsOf(id)) == 1 })
	for range 2 {
		b.stop()
		b.o.Dir = t.TempDir()
		b.start()
		bob.until("broker", func() bool {
			s, err := bob.Status(t.Context())
			return err == nil && len(s.Relays) == 1 && s.Relays[0].Connected
		})
	}
	notices := func() (n int) {
		h, err := bob.History(t.Context(), "lamps", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range h {
			if m.Kind == "notice" && strings.Contains(m.Text, "has forgotten this device") {
				n++
			}
		}
		return n
	}
	bob.until("notice", func() bool { return notices() == 1 })
	alice.until("broker", func() bool {
		if _, err := alice.Send(t.Context(), "lamps", "two"); err != nil {
			t.Fatal(err)
		}
		return len(bob.textsOf(id)) > 1
	})
	if n := notices(); n != 1 {
		t.Error(n)
	}
}
