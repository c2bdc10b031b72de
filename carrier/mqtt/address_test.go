package mqtt_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"parley"
	"parley/carrier/mqtt"
)

const pin = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestParseBroker(t *testing.T) {
	raw, _ := hex.DecodeString(pin)
	for _, c := range []struct {
		in   string
		want mqtt.Broker
		out  string
	}{
		{"mqtt://h", mqtt.Broker{Host: "h", Port: 1883}, "mqtt://h:1883"},
		{"mqtt://H/", mqtt.Broker{Host: "h", Port: 1883}, "mqtt://h:1883"},
		{"mqtts://h", mqtt.Broker{Host: "h", Port: 8883, TLS: true}, "mqtts://h:8883"},
		{"mqtt://u:secret@10.0.0.1:99", mqtt.Broker{Host: "10.0.0.1", Port: 99, User: "u", Password: "secret"}, "mqtt://u@10.0.0.1:99"},
		{"mqtt://u%40x:p%2F%3A@[::1]", mqtt.Broker{Host: "::1", Port: 1883, User: "u@x", Password: "p/:"}, "mqtt://u%40x@[::1]:1883"},
		{"mqtts://h?cert-sha256=" + strings.ToUpper(pin), mqtt.Broker{Host: "h", Port: 8883, TLS: true, CertSHA256: raw}, "mqtts://h:8883?cert-sha256=" + pin},
		{"mqtts://h:1?v=4&cert-sha256=" + pin, mqtt.Broker{Host: "h", Port: 1, TLS: true, V: 4, CertSHA256: raw}, "mqtts://h:1?cert-sha256=" + pin + "&v=4"},
		{"mqtt://my_broker.lan?v=5", mqtt.Broker{Host: "my_broker.lan", Port: 1883, V: 5}, "mqtt://my_broker.lan:1883?v=5"},
	} {
		got, err := mqtt.ParseBroker(c.in)
		if err != nil || !got.Equal(c.want) || got.String() != c.out {
			t.Errorf("%q: %+v (%s), %v", c.in, got, got, err)
		}
	}
}

func TestParseBrokerRefuses(t *testing.T) {
	const secret = "hunter2"
	for _, s := range []string{
		"", "h", "http://u:hunter2@h", "mqtt:", "mqtt:h", "mqtt://", "mqtt://u:hunter2@", "mqtt://h:0", "mqtt://h:65536", "mqtt://h:+1", "mqtt://h:",
		"mqtt://[::1", "mqtt://[::1%25eth0]", "mqtt://[1.2.3.4]", "mqtt://-h", "mqtt://h..x", "mqtt://a b", "mqtt://u:hunter2@h/topic", "mqtt://h/#", "mqtt://h#",
		"mqtt://u:hunter2@h?", "mqtt://h?x=1", "mqtts://u:hunter2@h?cert-sha256=12", "mqtt://h?cert-sha256=" + pin, "mqtts://h?cert-sha256=" + pin + "&cert-sha256=" + pin,
		"mqtt://h?v=3", "mqtt://h?v=4&v=4", "mqtt://:hunter2@h", "mqtt://u:hunter2#@h", "mqtt://u:hunter2/@h", "mqtt://u:hunter2%zz@h", "mqtt://u\x00:hunter2@h", "mqtt://%00:hunter2@h", "mqtt://u:hunter2\n@h",
	} {
		_, err := mqtt.ParseBroker(s)
		if err == nil {
			t.Errorf("%q is a broker", s)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the error tells the password: %v", s, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, c := range []struct{ in, topic, out string }{
		{"mqtt://h/a", "a", "mqtt://h:1883/a"},
		{"mqtt://h:1//a/", "/a/", "mqtt://h:1//a/"},
		{"mqtts://H/a%20b/%C3%A4", "a b/ä", "mqtts://h:8883/a%20b/%C3%A4"},
		{"mqtt://h/ä%3F%25", "ä?%", "mqtt://h:1883/%C3%A4%3F%25"},
		{"mqtts://h/x?cert-sha256=" + pin, "x", "mqtts://h:8883/x?cert-sha256=" + pin},
		{"mqtt://h/a%2Fb", "a/b", "mqtt://h:1883/a/b"},
		{"mqtt://h/..", "..", "mqtt://h:1883/.."},
		{"mqtt://h/%2525", "%25", "mqtt://h:1883/%2525"},
	} {
		a, err := mqtt.ParseAddress(parley.Address(c.in))
		if err != nil || a.Topic != c.topic || a.String() != c.out {
			t.Errorf("%q: %q %s, %v", c.in, a.Topic, a, err)
		}
	}
	for _, s := range []string{
		"", "mqtt://h", "mqtt://h/", "mqtt://u@h/a", "mqtt://u:hunter2@h/a", "mqtt://@h/a", "mqtt://h/a?v=5", "mqtt://h/+", "mqtt://h/a/%23", "mqtt://h/%00",
		"mqtt://h/%FF", "mqtt://h/%", "mqtt://h/a#b", "http://h/a", "mqtt://h/" + strings.Repeat("a", 65536), "mqtt://h/\x00",
	} {
		if _, err := mqtt.ParseAddress(parley.Address(s)); err == nil {
			t.Errorf("%.30q is an address", s)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.30q: the error tells the password: %v", s, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"mqtt://h/a", "mqtts://[::1]:1//%20/?cert-sha256=" + pin, "mqtt://h/a%2Fb", "mqtt://h/a?b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := mqtt.ParseAddress(parley.Address(s))
		if err != nil {
			return
		}
		if mqtt.CheckTopic(a.Topic) != nil {
			t.Fatalf("%q has the topic %q", s, a.Topic)
		}
		b, err := mqtt.ParseAddress(a.Parley())
		if err != nil || b.Topic != a.Topic || !b.Broker.Equal(a.Broker) || b.String() != a.String() {
			t.Fatalf("%q becomes %q and then %q, %v", s, a, b, err)
		}
	})
}

// Any topic can be in an address.
func FuzzAddressOfTopic(f *testing.F) {
	for _, s := range []string{"a", "/", "a?b", "%", "ä", "..", " "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if mqtt.CheckTopic(topic) != nil {
			return
		}
		a := mqtt.Address{Broker: mqtt.Broker{Host: "h", Port: 1}, Topic: topic}
		b, err := mqtt.ParseAddress(a.Parley())
		if err != nil || b.Topic != topic {
			t.Fatalf("%q: %v, %q", topic, err, b.Topic)
		}
	})
}

func FuzzParseBroker(f *testing.F) {
	for _, s := range []string{"mqtt://u:p@h", "mqtts://h?cert-sha256=" + pin + "&v=5", "mqtt://[::1]:1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := mqtt.ParseBroker(s)
		if err != nil {
			return
		}
		c, err := mqtt.ParseBroker(b.String())
		c.Password = b.Password
		if err != nil || !c.Equal(b) {
			t.Fatalf("%q becomes %q, %v", s, b, err)
		}
	})
}
