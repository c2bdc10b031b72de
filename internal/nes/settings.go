package nes

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"parley/carrier/mqtt"
	"parley/internal/rsakey"
	"parley/keydir/client"
	"parley/secure/nes"
)

// Names of settings, as in the config file and the environment.
const (
	Broker        = "MQTT_BROKER_ADDRESS"
	Address       = "PUBKEY_ADDRESS"
	ProviderKey   = "PUBKEY_PUBLIC_KEY_FILE"
	MessageFile   = "PRIVATE_KEY_MESSAGE_FILE"
	MessagePublic = "PUBLIC_KEY_MESSAGE_FILE"
	SignFile      = "PRIVATE_KEY_SIGN_FILE"
	SignPublic    = "PUBLIC_KEY_SIGN_FILE"
	User          = "NES_USERNAME"
)

// Fields are all settings, with the flag of each.
var Fields = []struct{ Name, Flag string }{
	{Broker, "broker"}, {Address, "provider"}, {ProviderKey, "provider_key"},
	{MessageFile, "private_message"}, {MessagePublic, "public_message"},
	{SignFile, "private_sign"}, {SignPublic, "public_sign"}, {User, "user"},
}

// Defaults: a parleyd on this machine, and the article's servers.
const (
	DefaultBroker   = "tcp://127.0.0.1:1883"
	DefaultProvider = "http://127.0.0.1:8080"
	PublicBroker    = "tcp://test.mosquitto.org:1883"
	PublicProvider  = "https://microshell.pl/pubkey"
	// NoProvider instead of an address asks none: keys are files.
	NoProvider = "none"
	// StartHint is how to get what the defaults need.
	StartHint = "parleyd serve --data D --mqtt 127.0.0.1:1883 --keydir 127.0.0.1:8080"
)

// Given is what settings are made of.
type Given struct {
	Flags  map[string]string // by the names of settings; empty ones are not given
	Env    func(name string) string
	Config string // the file; "" is the default one, which need not be there
	Public bool   // the article's servers
	Home   string
	OSUser string
}

// A Value is one setting, and where it is from: flag, environment, config or default.
type Value struct{ Text, From string }

// Settings are all values of one run.
type Settings struct {
	Values   map[string]Value
	Config   string // the config file's path, whether it is there or not
	Home     string
	Warnings []string
	lines    map[string]int // of the config file's values
}

// Resolve puts settings together: a flag goes before the environment, that before the
// config file, and that before the default.
func Resolve(g Given) (*Settings, error) {
	s := &Settings{Values: map[string]Value{}, Home: g.Home, Config: g.Config}
	if g.Config == "" {
		s.Config = filepath.Join(g.Home, ".nes", "config")
	}
	s.Config = s.expand(s.Config)
	file, lines, err := readConfig(s.Config)
	s.lines = lines
	if err != nil && (g.Config != "" || !errors.Is(err, fs.ErrNotExist)) {
		return nil, Errorf(Files, "Cannot read config: %w", err)
	}
	for key := range file {
		if !slices.ContainsFunc(Fields, func(f struct{ Name, Flag string }) bool { return f.Name == key }) {
			s.Warnings = append(s.Warnings, fmt.Sprintf("%s: there is no setting %s", s.Config, key))
		}
	}
	slices.Sort(s.Warnings)
	for _, f := range Fields {
		for _, v := range []Value{{g.Flags[f.Name], "flag"}, {public(g, f.Name), "flag --public"}, {g.Env(f.Name), "environment"}, {file[f.Name], "config"}} {
			// Another provider's key is none of the article's.
			foreign := g.Public && f.Name == ProviderKey && v.From != "flag"
			if v.Text != "" && !foreign {
				s.Values[f.Name] = v
				break
			}
		}
	}
	return s, s.defaults(g)
}

func public(g Given, name string) string {
	switch {
	case !g.Public:
		return ""
	case name == Broker:
		return PublicBroker
	case name == Address:
		return PublicProvider
	}
	return ""
}

func (s *Settings) defaults(g Given) error {
	s.unlessSet(Broker, DefaultBroker)
	s.unlessSet(Address, DefaultProvider)
	s.unlessSet(User, g.OSUser)
	user := s.Get(User)
	if nes.CheckName(user) != nil {
		return s.inConfig(User, Errorf(Usage, "%.40q is no NES user name (3 to 32 of a-z, 0-9, _ and -): give one with -u", user))
	}
	dir := filepath.Join(g.Home, ".nes")
	s.unlessSet(MessageFile, filepath.Join(dir, user+"-rsa-message"))
	s.unlessSet(SignFile, filepath.Join(dir, user+"-rsa-sign"))
	for _, name := range []string{MessageFile, SignFile, MessagePublic, SignPublic, ProviderKey} {
		if v, ok := s.Values[name]; ok {
			v.Text = s.expand(v.Text)
			s.Values[name] = v
		}
	}
	s.unlessSet(MessagePublic, s.Get(MessageFile)+".pub")
	s.unlessSet(SignPublic, s.Get(SignFile)+".pub")
	return nil
}

func (s *Settings) unlessSet(name, value string) {
	if _, ok := s.Values[name]; !ok {
		s.Values[name] = Value{value, "default"}
	}
}

// expand replaces a ~ at the beginning, which a shell does not see in a config file.
func (s *Settings) expand(path string) string {
	if path == "~" || strings.HasPrefix(path, "~/") || strings.HasPrefix(path, "~"+string(os.PathSeparator)) {
		return filepath.Join(s.Home, path[1:])
	}
	return path
}

// inConfig gives an error of a setting's value the place where it stands, if that is
// the config file.
func (s *Settings) inConfig(name string, err error) error {
	if err == nil || s.Values[name].From != "config" {
		return err
	}
	return Errorf(Files, "config file %s: line %d: %s: %w", s.Config, s.lines[name], name, err)
}

// CheckPeer is an error for what is no user's name.
func CheckPeer(name string) error {
	if nes.CheckName(name) != nil {
		return Errorf(Usage, "%.40q is nobody's name: %w", name, nes.ErrName)
	}
	return nil
}

// Get returns a value, or "".
func (s *Settings) Get(name string) string { return s.Values[name].Text }

// Dir is the folder of the private message key: state and peers' keys are beside it.
func (s *Settings) Dir() string { return filepath.Dir(s.Get(MessageFile)) }

// Shown returns a value for people: a broker without its password.
func (s *Settings) Shown(name string) string {
	v := s.Get(name)
	switch {
	case name == Broker:
		b, err := ParseBroker(v)
		if err != nil {
			return "(not the address of a broker)"
		}
		return b.shown()
	case name == Address && v != NoProvider:
		u, err := client.ParseURL(v)
		if err != nil {
			return "(not the address of a provider)"
		}
		return u.String()
	case name == ProviderKey && v == "":
		if s.builtIn() {
			return "(built in)"
		}
		return "(fetched at first use, then pinned)"
	}
	return v
}

// ParseBroker reads a broker's address in the forms of the original (tcp://, ssl://,
// ws://, wss://) and of Parley (mqtt://, mqtts://). No error repeats it: a password may
// be in it.
func ParseBroker(s string) (Where, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	switch strings.ToLower(scheme) {
	case "tcp", "mqtt":
		scheme = mqtt.Scheme
	case "ssl", "tls", "mqtts", "mqtt+ssl", "tcps":
		scheme = mqtt.SchemeTLS
	case "ws", "wss":
		return parseWeb(strings.ToLower(scheme) + "://" + rest)
	default:
		ok = false
	}
	if !ok {
		return Where{}, Errorf(Usage, "the broker's address does not begin with tcp://, ssl://, ws:// or wss://")
	}
	b, err := mqtt.ParseBroker(scheme + "://" + rest)
	if err != nil {
		return Where{}, &Error{Usage, fmt.Errorf("the broker's address: %w", err)}
	}
	return Where{Broker: b}, nil
}

func (s *Settings) builtIn() bool {
	u, err := client.ParseURL(s.Get(Address))
	return err == nil && u.String() == PublicProvider
}

// providerKey returns the key of a file or the one that is built in, or nil.
func (s *Settings) providerKey() (*rsa.PublicKey, error) {
	if path := s.Get(ProviderKey); path != "" {
		key, err := readPublic(path)
		if err != nil {
			return nil, s.inConfig(ProviderKey, Errorf(Files, "Cannot read provider key: %w", err))
		}
		return key, nil
	}
	if s.builtIn() {
		return rsakey.ParsePublic([]byte(publicKey))
	}
	return nil, nil
}

// Storable checks flags that are to be stored in a config file, and leaves out those
// that were not given.
func Storable(flags map[string]string, public bool) (map[string]string, error) {
	values := map[string]string{}
	if public {
		values[Broker], values[Address] = PublicBroker, PublicProvider
	}
	for name, v := range flags {
		if v != "" {
			values[name] = v
		}
	}
	if len(values) == 0 {
		return nil, Errorf(Usage, "nothing to store: give settings as flags beside -S")
	}
	if v, ok := values[Broker]; ok {
		if _, err := ParseBroker(v); err != nil {
			return nil, err
		}
	}
	if v, ok := values[Address]; ok && v != NoProvider {
		if _, err := client.ParseURL(v); err != nil {
			return nil, Errorf(Usage, "the provider's address: %w", err)
		}
	}
	if v, ok := values[User]; ok && nes.CheckName(v) != nil {
		return nil, Errorf(Usage, "%w", nes.ErrName)
	}
	return values, nil
}
