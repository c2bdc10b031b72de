// Sensor publishes sealed readings and obeys its owner's signed commands (docs/stringphone.md).
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"parley/carrier/mqtt"
	"parley/carrier/mqtt/client"
	"parley/secure/stringphone"
)

func main() {
	if len(os.Args) != 7 {
		log.Fatal("usage: sensor BROKER TOPIC SEED_FILE TOPIC_KEY_FILE OWNER_KEY_FILE GUARD_FILE")
	}
	ctx, guard, intervals := context.Background(), stringphone.NewGuard(1000), make(chan time.Duration, 1)
	if b, err := os.ReadFile(os.Args[6]); err == nil { // what was seen before the last restart
		must(0, guard.UnmarshalBinary(b))
	}
	topic := must(stringphone.NewTopic(stringphone.Options{Seed: key(os.Args[3]), TopicKey: key(os.Args[4]), Guard: guard}))
	must(0, topic.AddParticipant(key(os.Args[5])))
	conn := must(client.Dial(ctx, client.Options{Broker: must(mqtt.ParseBroker(os.Args[1])), ClientID: "sensor" + topic.ID().String()[:16], Start: client.Retry}))
	must(0, conn.Subscribe(ctx, os.Args[2], 1, func(m client.Message) error {
		command, err := topic.Decode(m.Payload, stringphone.IgnoreUntrusted)
		if err != nil || command == nil { // forged, seen before, a stranger's, our own
			return nil
		}
		if d, err := time.ParseDuration(string(command)); err == nil && d >= time.Second {
			intervals <- d // how often to read
		}
		return os.WriteFile(os.Args[6], must(guard.MarshalBinary()), 0o600)
	}))
	for tick := time.NewTicker(time.Minute); ; {
		reading := must(topic.Encode(fmt.Appendf(nil, `{"celsius":%.1f}`, 20+rand.Float64())))
		must(0, conn.Publish(ctx, client.Message{Topic: os.Args[2], Payload: reading, QoS: 1, Retain: true}))
		select {
		case <-tick.C:
		case d := <-intervals:
			tick.Reset(d)
		}
	}
}

func key(file string) []byte { // one line of base64
	return must(base64.StdEncoding.DecodeString(strings.TrimSpace(string(must(os.ReadFile(file))))))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
