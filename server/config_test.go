package server

import (
	"errors"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"parley/broker"
	mqttserver "parley/carrier/mqtt/server"
	otcserver "parley/carrier/relay/server"
	keydirserver "parley/keydir/server"
)

func TestExampleHasEverySettingAndItsDefault(t *testing.T) {
	c := Defaults()
	for _, x := range []struct {
		name      string
		got, want any
	}{
		{"quota", c.Queues.Quota, broker.DefaultQuota},
		{"message_ttl", time.Duration(c.Queues.MessageTTL), broker.DefaultMessageTTL},
		{"suspended_ttl", time.Duration(c.Queues.SuspendedTTL), broker.DefaultSuspendedTTL},
		{"sweep", time.Duration(c.Queues.Sweep), broker.DefaultSweepEvery},
		{"subscriptions", c.Limits.Subscriptions, broker.DefaultSubscriptions},
		{"memory", c.Limits.Memory, Size(64 << 20)},
		{"idle", time.Duration(c.Limits.Idle), 10 * time.Minute},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s is %v in the example, %v in truth", x.name, x.got, x.want)
		}
	}
	got := c.MQTTLimits.limits(1, slog.New(slog.DiscardHandler))
	got.Connections = c.MQTTLimits.Connections // the machine may lower it
	if got != mqttserver.DefaultLimits() {
		t.Errorf("the limits of MQTT are %+v in the example, %+v in truth", got, mqttserver.DefaultLimits())
	}
	if k := c.KeydirLimits.limits(); k != keydirserver.DefaultLimits() {
		t.Errorf("the limits of the directory are %+v in the example, %+v in truth", k, keydirserver.DefaultLimits())
	}
	if k := c.OTCLimits.limits(); k != otcserver.DefaultLimits() {
		t.Errorf("the limits of One Time Chat's relay are %+v in the example, %+v in truth", k, otcserver.DefaultLimits())
	}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Struct {
				walk(v.Field(i))
				continue
			}
			key := v.Type().Field(i).Tag.Get("toml")
			if !strings.Contains(Example, "\n"+key+" = ") {
				t.Errorf("the example lacks %s", key)
			}
		}
	}
	walk(reflect.ValueOf(c))
}

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig("data = \"x\"\nmemory_limit = \"2GiB\"\n[queues]\nmessage_ttl = \"36h\"\nsuspended_ttl = \"2d\"\n[store]\ncache = \"512\"")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Data: "x", MemoryLimit: 2 << 30, Store: Store{Cache: 512},
		Queues: Queues{MessageTTL: Duration(36 * time.Hour), SuspendedTTL: Duration(48 * time.Hour)}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	for _, text := range []string{
		"dta = 'x'", "[queue]\nquota = 1", "queues = 3", "data = 3", "data = 'x", "[queues]\nquota = 'many'",
		"[queues]\nsweep = '1 minute'", "[queues]\nsweep = '-1d'", "[queues]\nsweep = '99999d'", "[queues]\nsweep = 'd'",
		"memory_limit = '-1'", "memory_limit = '1MB'", "memory_limit = '9999999GiB'", "memory_limit = ''",
	} {
		if c, err := ParseConfig(text); !errors.Is(err, ErrConfig) {
			t.Errorf("%q gives %+v, %v", text, c, err)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(Example)
	f.Add("memory_limit = \"64MiB\"\n[queues]\nsweep = \"7d\"")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := ParseConfig(text); err != nil && !errors.Is(err, ErrConfig) {
			t.Error(err)
		}
	})
}
