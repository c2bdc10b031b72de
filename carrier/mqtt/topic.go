package mqtt

import (
	"strings"
	"unicode/utf8"
)

// MaxTopic is the longest topic name or filter in bytes (MQTT 5 §1.5.4).
const MaxTopic = 65535

// CheckTopic says what is wrong with the name of a topic to publish to (MQTT 5
// §4.7): it is UTF-8 of 1 to 65,535 bytes without NUL and without the wildcards
// + and #. A level may be empty. Upper and lower case differ.
func CheckTopic(name string) error {
	if err := checkText(name, "topic"); err != nil {
		return err
	}
	if strings.ContainsAny(name, "+#") {
		return topicError("the topic has a wildcard (+ or #); those are for subscribing only")
	}
	return nil
}

// CheckFilter says what is wrong with a filter to subscribe with (MQTT 5 §4.7,
// §4.8.2): as a topic, but a level may be + alone, and the last one # alone. A
// shared subscription is $share/GROUP/FILTER.
func CheckFilter(filter string) error {
	if err := checkText(filter, "filter"); err != nil {
		return err
	}
	group, rest, shared := splitShare(filter)
	if shared {
		if group == "" || strings.ContainsAny(group, "+#") || rest == "" {
			return topicError("a shared subscription must be $share/GROUP/FILTER, and GROUP has no wildcards")
		}
		filter = rest
	}
	for level, more := next(filter); ; level, more = next(*more) {
		if strings.ContainsAny(level, "+#") && len(level) > 1 {
			return topicError("a wildcard in the filter does not stand alone between the slashes")
		}
		if level == "#" && more != nil {
			return topicError("the filter goes on after #, which must be its last level")
		}
		if more == nil {
			return nil
		}
	}
}

// Match reports whether the filter takes in the topic. Both must be valid. A
// wildcard in the first level does not match topics that begin with $, which are
// the broker's own (MQTT 5 §4.7.2).
func Match(filter, topic string) bool {
	if _, rest, shared := splitShare(filter); shared {
		filter = rest
	}
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	f, t := &filter, &topic
	for f != nil {
		want, moreF := next(*f)
		if want == "#" {
			return true // also of the level above: a/# takes in a
		}
		if t == nil {
			return false
		}
		have, moreT := next(*t)
		if want != "+" && want != have {
			return false
		}
		f, t = moreF, moreT
	}
	return t == nil
}

// Wild reports whether a filter has a wildcard or is shared, so that it is no topic.
func Wild(filter string) bool {
	_, _, shared := splitShare(filter)
	return shared || strings.ContainsAny(filter, "+#")
}

// next returns the first level and what follows its slash, nil if nothing does.
func next(s string) (level string, more *string) {
	level, rest, ok := strings.Cut(s, "/")
	if !ok {
		return level, nil
	}
	return level, &rest
}

func splitShare(filter string) (group, rest string, shared bool) {
	s, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return "", filter, false
	}
	group, rest, _ = strings.Cut(s, "/")
	return group, rest, true
}

func checkText(s, what string) error {
	switch {
	case s == "":
		return topicError("the " + what + " is empty")
	case len(s) > MaxTopic:
		return topicError("the " + what + " is longer than 65,535 bytes")
	case !utf8.ValidString(s):
		return topicError("the " + what + " is not UTF-8")
	case strings.ContainsRune(s, 0):
		return topicError("the " + what + " has a NUL character in it")
	}
	return nil
}

type topicError string

func (e topicError) Error() string { return "mqtt: " + string(e) }
