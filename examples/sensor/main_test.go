package main

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
	"parley/carrier/mqtt/server"
	"parley/secure/stringphone"
)

// The sensor, as a process of its own, over the embedded broker: readings come
// sealed, its owner's command changes the interval, a repeated one and a
// stranger's do not.
func TestSensor(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "sensor")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s, err := server.New(server.Options{Dir: filepath.Join(dir, "broker")})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		if err := <-served; !errors.Is(err, server.ErrShutdown) {
			t.Error(err)
		}
	})
	topicKey, seed := stringphone.GenerateTopicKey(), stringphone.GenerateSeed()
	signer, err := stringphone.NewSigner(seed)
	if err != nil {
		t.Fatal(err)
	}
	party := func() *stringphone.Topic {
		p, err := stringphone.NewTopic(stringphone.Options{TopicKey: topicKey})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AddParticipant(signer.PublicKey()); err != nil {
			t.Fatal(err)
		}
		return p
	}
	owner, stranger := party(), party()
	file := func(name string, key []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cmd := exec.Command(program, "mqtt://"+l.Addr().String(), "boiler",
		file("seed", seed), file("topic", topicKey), file("owner", owner.PublicKey()), filepath.Join(dir, "guard"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})

	broker, err := mqtt.ParseBroker("mqtt://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, client.Options{Broker: broker})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	readings := make(chan string, 100)
	err = c.Subscribe(ctx, "boiler", 1, func(m client.Message) error {
		if text, err := owner.Decode(m.Payload, stringphone.IgnoreUntrusted); err == nil && text != nil {
			readings <- string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	next := func() {
		t.Helper()
		select {
		case r := <-readings:
			if !regexp.MustCompile(`^\{"celsius":\d\d\.\d\}$`).MatchString(r) {
				t.Fatalf("a reading %q", r)
			}
		case <-ctx.Done():
			t.Fatal("no reading")
		}
	}
	next() // and the following one in a minute, unless somebody says otherwise
	say := func(p *stringphone.Topic, command string) []byte {
		packet, err := p.Encode([]byte(command))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(ctx, client.Message{Topic: "boiler", Payload: packet, QoS: 1}); err != nil {
			t.Fatal(err)
		}
		return packet
	}
	say(stranger, "1h")
	say(owner, "1s")
	next()
	again := say(owner, "1h")
	say(owner, "1s")
	next()
	// Obeying a repeated "1h" would end the readings.
	if err := c.Publish(ctx, client.Message{Topic: "boiler", Payload: again, QoS: 1}); err != nil {
		t.Fatal(err)
	}
	next()
	next()
	if b, err := os.ReadFile(filepath.Join(dir, "guard")); err != nil || len(b) == 0 {
		t.Errorf("the replay guard is not on disk: %v", err)
	}
}
