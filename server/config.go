package server

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// DefaultListen is where encrypted connections are accepted if no address at all
// is given.
const DefaultListen = "127.0.0.1:5223"

// A Config is all settings of a relay. The zero value of a field means its
// default, which [Defaults] and [Example] show. Example also says what each is.
type Config struct {
	Data            string `toml:"data"`
	Host            string `toml:"host"`
	SMP2020         string `toml:"smp2020"`
	SMP2020Plain    string `toml:"smp2020_plain"`
	SMP2020Creators string `toml:"smp2020_creators"`
	MQTT            string `toml:"mqtt"`
	MQTTTLS         string `toml:"mqtt_tls"`
	MQTTCert        string `toml:"mqtt_cert"`
	MQTTKey         string `toml:"mqtt_key"`
	MQTTUsers       string `toml:"mqtt_users"`
	MQTTAnonymous   bool   `toml:"mqtt_anonymous"`
	MemoryLimit     Size   `toml:"memory_limit"`

	Keydir         string   `toml:"keydir"`
	KeydirURL      string   `toml:"keydir_url"`
	KeydirKey      string   `toml:"keydir_key"`
	KeydirTLSCert  string   `toml:"keydir_tls_cert"`
	KeydirTLSKey   string   `toml:"keydir_tls_key"`
	KeydirProxy    []string `toml:"keydir_proxy"`
	KeydirGetLinks bool     `toml:"keydir_get_links"`
	KeydirMetrics  bool     `toml:"keydir_metrics"`
	SMTP           string   `toml:"smtp"`
	SMTPFile       string   `toml:"smtp_file"`

	OTC        string   `toml:"otc"`
	OTCTLSCert string   `toml:"otc_tls_cert"`
	OTCTLSKey  string   `toml:"otc_tls_key"`
	OTCProxy   []string `toml:"otc_proxy"`
	OTCMetrics bool     `toml:"otc_metrics"`
	Mischief   bool     `toml:"mischief"`

	Queues       Queues       `toml:"queues"`
	Limits       Limits       `toml:"limits"`
	MQTTLimits   MQTTLimits   `toml:"mqtt_limits"`
	KeydirLimits KeydirLimits `toml:"keydir_limits"`
	OTCLimits    OTCLimits    `toml:"otc_limits"`
	Store        Store        `toml:"store"`
}

// Queues says what a queue holds and for how long.
type Queues struct {
	Quota        int      `toml:"quota"`
	MessageTTL   Duration `toml:"message_ttl"`
	SuspendedTTL Duration `toml:"suspended_ttl"`
	Sweep        Duration `toml:"sweep"`
}

// Limits bounds what clients can make the relay hold.
type Limits struct {
	Connections        int      `toml:"connections"`
	ConnectionsPerHost int      `toml:"connections_per_host"`
	PlainConnections   int      `toml:"plain_connections"`
	Handshakes         int      `toml:"handshakes"`
	HandshakesPerHost  int      `toml:"handshakes_per_host"`
	Subscriptions      int      `toml:"subscriptions"`
	Memory             Size     `toml:"memory"`
	Handshake          Duration `toml:"handshake"`
	Block              Duration `toml:"block"`
	Write              Duration `toml:"write"`
	Idle               Duration `toml:"idle"`
}

// MQTTLimits bounds what MQTT clients can make the broker hold.
type MQTTLimits struct {
	Connections        int      `toml:"connections"`
	ConnectionsPerHost int      `toml:"connections_per_host"`
	Connecting         int      `toml:"connecting"`
	Packet             Size     `toml:"packet"`
	Sessions           int      `toml:"sessions"`
	Subscriptions      int      `toml:"subscriptions_per_session"`
	TopicBytes         int      `toml:"topic_bytes"`
	TopicLevels        int      `toml:"topic_levels"`
	Inflight           int      `toml:"inflight"`
	Aliases            int      `toml:"aliases"`
	QueueMessages      int      `toml:"queue_messages"`
	QueueBytes         Size     `toml:"queue_bytes"`
	Queued             int      `toml:"queued"`
	QoS0Messages       int      `toml:"qos0_messages"`
	QoS0Bytes          Size     `toml:"qos0_bytes"`
	RetainedMessages   int      `toml:"retained_messages"`
	RetainedBytes      Size     `toml:"retained_bytes"`
	Memory             Size     `toml:"memory"`
	State              Size     `toml:"state"`
	SessionExpiry      Duration `toml:"session_expiry"`
	KeepAlive          Duration `toml:"keep_alive"`
	Connect            Duration `toml:"connect"`
	Packets            Duration `toml:"packet_time"`
	Write              Duration `toml:"write"`
}

// Store tunes the embedded store.
type Store struct {
	MemTable Size     `toml:"memtable"`
	Cache    Size     `toml:"cache"`
	Reserve  Size     `toml:"reserve"`
	Scrub    Duration `toml:"scrub"`
}

// Example is a configuration file with every setting, its default and what it
// does.
//
//go:embed example.toml
var Example string

// Defaults returns the configuration that Example is.
func Defaults() Config {
	c, err := ParseConfig(Example)
	if err != nil {
		panic(err) // the tests parse it
	}
	return c
}

// ErrConfig is at the root of all errors that a better configuration avoids.
var ErrConfig = errors.New("bad configuration")

// ReadConfig reads a configuration file.
func ReadConfig(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	c, err := ParseConfig(string(b))
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseConfig parses TOML. A key that it doesn't know is an error.
func ParseConfig(text string) (Config, error) {
	var c Config
	md, err := toml.Decode(text, &c)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		return Config{}, fmt.Errorf("%w: there is no setting %q; 'parleyd config' lists them", ErrConfig, unknown[0].String())
	}
	return c, nil
}

// check reports what is wrong with c before anything is touched.
func (c *Config) check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, a...)...)
	}
	if c.Data == "" {
		return bad("no data folder is given (--data DIR)")
	}
	for _, a := range []struct{ name, addr string }{
		{"smp2020", c.SMP2020}, {"smp2020_plain", c.SMP2020Plain}, {"mqtt", c.MQTT}, {"mqtt_tls", c.MQTTTLS}, {"keydir", c.Keydir}, {"otc", c.OTC},
	} {
		if a.addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(a.addr); err != nil || port == "" {
			return bad("%s: %q is not HOST:PORT", a.name, a.addr)
		}
	}
	if name := negative(reflect.ValueOf(*c), ""); name != "" {
		return bad("%s must not be negative (0 stands for the default)", name)
	}
	if (c.MQTTCert == "") != (c.MQTTKey == "") {
		return bad("mqtt_cert and mqtt_key go together")
	}
	if c.MQTTCert != "" && c.MQTTTLS == "" {
		return bad("mqtt_cert is given, but no mqtt_tls")
	}
	if c.MQTT == "" && c.MQTTTLS == "" && (c.MQTTUsers != "" || c.MQTTAnonymous) {
		return bad("mqtt_users or mqtt_anonymous is given, but neither mqtt nor mqtt_tls")
	}
	if c.MQTTUsers != "" && c.MQTTAnonymous {
		return bad("mqtt_anonymous is for a broker without mqtt_users; in the users' file, rules for anonymous say what they may")
	}
	if n := c.MQTTLimits.QueueMessages; n > 65_000 {
		return bad("mqtt_limits.queue_messages must be at most 65000")
	}
	if n := c.MQTTLimits.Packet; n != 0 && (n < 1024 || n > 256<<20-1) {
		return bad("mqtt_limits.packet must be from 1KiB to 268435455")
	}
	if n := c.MQTTLimits.Memory; n != 0 && n < 1<<20 {
		return bad("mqtt_limits.memory must be at least 1MiB")
	}
	if m := c.Limits.Memory; m != 0 && m < 1<<20 {
		return bad("limits.memory must be at least 1MiB")
	}
	if err := c.checkOTC(); err != nil {
		return err
	}
	return c.checkKeydir()
}

// negative returns the name of a setting that is a negative number, if one is.
func negative(v reflect.Value, in string) string {
	for i := range v.NumField() {
		f, name := v.Field(i), in+v.Type().Field(i).Tag.Get("toml")
		switch {
		case f.Kind() == reflect.Struct:
			if n := negative(f, name+"."); n != "" {
				return n
			}
		case f.CanInt() && f.Int() < 0:
			return name
		}
	}
	return ""
}

// A Duration is a time.Duration that is written as Go does ("1h30m"), or in days
// ("21d").
type Duration time.Duration

func (d *Duration) UnmarshalText(b []byte) error {
	if days, ok := strings.CutSuffix(string(b), "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n > 36500 {
			return fmt.Errorf("%q is not a number of days", b)
		}
		*d = Duration(n) * Duration(24*time.Hour)
		return nil
	}
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s, 10m, 12h or 21d", b)
	}
	*d = Duration(v)
	return nil
}

// A Size is a number of bytes, written with KiB, MiB, GiB or plain.
type Size int64

var units = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"", 1}}

func (s *Size) UnmarshalText(b []byte) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(string(b), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<50)/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size such as 64MiB", b)
}
