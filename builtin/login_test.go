package builtin

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"parley"
	"parley/messenger"
)

func TestTopicLoginIsSplitOff(t *testing.T) {
	for in, want := range map[string]struct{ clean, user, password string }{
		"mqtt://h:1883/t":               {"mqtt://h:1883/t", "", ""},
		"mqtt://u@h:1883/t":             {"mqtt://h:1883/t", "u", ""},
		"mqtts://u:p%40ss@h:8883/a%2Fb": {"mqtts://h:8883/a%2Fb", "u", "p@ss"},
		"mqtt://:p@h:1883/t":            {},
		"mqtt://u:secret@h:port/t":      {},
		"mqtt://%zz@h/t":                {},
	} {
		clean, user, password, err := login(parley.Address(in))
		if string(clean) != want.clean || user != want.user || password != want.password || (err == nil) != (want.clean != "") {
			t.Errorf("%s: %q %q %q %v", in, clean, user, password, err)
		}
		if err != nil && (!errors.Is(err, parley.ErrRefused) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v", in, err)
		}
	}
	if a, err := (topicForms{}).Relay("mqtts://u:secret@Broker.example:1/t"); err != nil || a != "mqtts://broker.example:1" {
		t.Error(a, err)
	}
	for _, err := range []error{
		second((topicForms{}).Line("mqtt://h/t")), second((topicForms{}).ParseLine("x y")), second((topicForms{}).Bare("mqtt://h")),
	} {
		if !errors.Is(err, messenger.ErrInvitation) {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzTopicLogin(f *testing.F) {
	for _, s := range []string{"mqtt://u:p@h:1/t", "mqtts://h/t?cert-sha256=00", "mqtt://:@h", "//u:p@h", "mqtt://u:p@[::1]/a//b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		clean, user, _, err := login(parley.Address(s))
		if err != nil {
			return
		}
		if u, err := url.Parse(string(clean)); err == nil && u.User != nil && user != "" {
			t.Fatalf("%q still says who we are: %q", s, clean)
		}
		if again, other, _, err := login(clean); err == nil && user != "" && (again != clean || other != "") {
			t.Fatalf("%q: %q, then %q", s, clean, again)
		}
	})
}
