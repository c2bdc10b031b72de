package server

import (
	"strings"

	"parley/carrier/mqtt"
)

func checkTopic(name string) error { return mqtt.CheckTopic(name) }

// levels is how many levels a topic or filter has.
func levels(s string) int { return 1 + strings.Count(s, "/") }

// isSystem reports whether a topic is of the broker's own; clients don't publish
// there (MQTT 5 §4.7.2).
func isSystem(topic string) bool { return strings.HasPrefix(topic, "$") }

// nextLevel splits the first level off.
func nextLevel(s string) (level, rest string, more bool) {
	return strings.Cut(s, "/")
}

// covers reports whether every topic that filter b matches is matched by a.
func covers(a, b string) bool {
	if wildStart(a) && strings.HasPrefix(b, "$") {
		return false
	}
	for {
		la, ra, moreA := nextLevel(a)
		if la == "#" {
			return true
		}
		lb, rb, moreB := nextLevel(b)
		if lb == "#" || lb != la && la != "+" {
			return false
		}
		if !moreB {
			return !moreA || ra == "#"
		}
		if !moreA {
			return false
		}
		if rb == "#" && ra != "#" { // b also matches the level above
			return false
		}
		a, b = ra, rb
	}
}

// overlaps reports whether some topic matches both filters.
func overlaps(a, b string) bool {
	if wildStart(a) && strings.HasPrefix(b, "$") || wildStart(b) && strings.HasPrefix(a, "$") {
		return false
	}
	for {
		la, ra, moreA := nextLevel(a)
		lb, rb, moreB := nextLevel(b)
		if la == "#" || lb == "#" {
			return true
		}
		if la != lb && la != "+" && lb != "+" {
			return false
		}
		switch {
		case !moreA && !moreB:
			return true
		case !moreA:
			return rb == "#"
		case !moreB:
			return ra == "#"
		}
		a, b = ra, rb
	}
}

func wildStart(f string) bool { return strings.HasPrefix(f, "+") || strings.HasPrefix(f, "#") }
