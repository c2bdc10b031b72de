package mqtt_test

import (
	"strings"
	"testing"

	"parley/carrier/mqtt"
)

func TestCheckTopic(t *testing.T) {
	for _, good := range []string{"a", "/", "a/", "/a", "a//b", "Ä/ö", "$SYS/x", "with space", strings.Repeat("x", 65535), "\ufeffx"} {
		if err := mqtt.CheckTopic(good); err != nil {
			t.Errorf("%.20q: %v", good, err)
		}
		if err := mqtt.CheckFilter(good); err != nil {
			t.Errorf("as a filter %.20q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a\x00", "a/+", "#", "a#", "\xff", "\xed\xa0\x80", strings.Repeat("x", 65536)} {
		if mqtt.CheckTopic(bad) == nil {
			t.Errorf("%.20q is a topic", bad)
		}
	}
}

func TestCheckFilter(t *testing.T) {
	for _, good := range []string{"#", "+", "a/+/b", "a/#", "+/+", "/+", "+/#", "$share/g/a/#", "$share/g//", "$SYS/#", "$share"} {
		if err := mqtt.CheckFilter(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a+", "+a/b", "#/a", "a/#/b", "a#", "##", "++", "$share//a", "$share/g", "$share/+/a", "$share/g/a#", "\x00", "\xff", strings.Repeat("x", 65536)} {
		if mqtt.CheckFilter(bad) == nil {
			t.Errorf("%.20q is a filter", bad)
		}
	}
}

// The rows of MQTT 5 §4.7 and then some.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/B", false}, {"a", "a/b", false}, {"a/b", "a", false},
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true}, {"#", "a/b/c", true}, {"#", "/", true},
		{"sport/tennis/+", "sport/tennis/player1", true}, {"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false}, {"sport/+", "sport/", true},
		{"+/+", "/finance", true}, {"/+", "/finance", true}, {"+", "/finance", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false}, {"#", "$SYS/monitor", false}, {"$SYS/#", "$SYS/monitor", true},
		{"$share/g/a/+", "a/b", true}, {"$share/g/a/+", "a", false}, {"$share/g/#", "$SYS/x", false},
		{"a//b", "a//b", true}, {"a/+/b", "a//b", true}, {"a/b/", "a/b", false}, {"a/+/#", "a/b", true}, {"a/+/#", "a", false},
	} {
		if got := mqtt.Match(c.filter, c.topic); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

func TestWild(t *testing.T) {
	for filter, want := range map[string]bool{"a/b": false, "a/+": true, "#": true, "$share/g/a": true, "$SYS/x": false} {
		if mqtt.Wild(filter) != want {
			t.Errorf("Wild(%q) is not %v", filter, want)
		}
	}
}

// naive is Match in another way: by regular recursion over slices.
func naive(f, t []string) bool {
	switch {
	case len(f) == 0:
		return len(t) == 0
	case f[0] == "#":
		return true
	case len(t) == 0:
		return false
	}
	return (f[0] == "+" || f[0] == t[0]) && naive(f[1:], t[1:])
}

func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"a/+", "a/b"}, {"#", "/"}, {"$share/g/a", "a"}, {"+/", "x/"}, {"a/#", "a"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if mqtt.CheckFilter(filter) != nil || mqtt.CheckTopic(topic) != nil {
			return
		}
		bare := filter
		if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
			_, bare, _ = strings.Cut(rest, "/")
		}
		want := naive(strings.Split(bare, "/"), strings.Split(topic, "/"))
		if topic[0] == '$' && (bare[0] == '+' || bare[0] == '#') {
			want = false
		}
		if mqtt.Match(filter, topic) != want {
			t.Fatalf("Match(%q, %q) is not %v", filter, topic, want)
		}
		if !mqtt.Match(topic, topic) && !strings.HasPrefix(topic, "$share/") {
			t.Fatalf("%q does not match itself", topic)
		}
	})
}
