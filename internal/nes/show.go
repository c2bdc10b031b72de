package nes

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"parley/internal/rsakey"
	"parley/internal/term"
	"parley/keydir/client"
)

// A message whose time is further ahead or back than this is shown with its date.
const (
	ahead = 5 * time.Minute
	back  = 24 * time.Hour
)

// Line is how a message is shown: the original's line, whatever its time. What is odd
// about that [Odd] says.
func Line(m Message) string {
	return time.UnixMilli(m.Time).Local().Format("[15:04:05]") + said(m)
}

func said(m Message) string {
	return " " + term.Line(m.From) + " > " + term.Indent(m.Text, "    ")
}

// Odd says that a message's time is not about now, so that an old one cannot pass for
// a new one; "" where it is. It is shown before the message.
func Odd(m Message, now time.Time) string {
	if when := odd(m, now); when != "" {
		return "By the clock of " + term.Line(m.From) + " the next message was " + when + "."
	}
	return ""
}

func odd(m Message, now time.Time) string {
	at := time.UnixMilli(m.Time)
	switch d := at.Sub(now); {
	case at.Year() < 1 || at.Year() > 9999:
		return "sent at an impossible time"
	case d > ahead || d < -back:
		return at.Local().Format("sent 2006-01-02 15:04:05")
	}
	return ""
}

// Dated is Line and Odd in one line, for a face without a place beside messages.
func Dated(m Message, now time.Time) string {
	if when := odd(m, now); when != "" {
		return "[" + when + "]" + said(m)
	}
	return Line(m)
}

func fingerprint(k *rsa.PublicKey) string { return rsakey.Of(k).String() }

// Changed is what people must see before they decide on other keys of a user.
func Changed(c *client.ChangedError) string {
	var b strings.Builder
	user := term.Line(c.User)
	fmt.Fprintf(&b, "THE KEYS OF %s HAVE CHANGED. Nothing is sent to %s or shown from %s until you decide.\n", strings.ToUpper(user), user, user)
	fmt.Fprintf(&b, "  known:   %s\n           message key %s\n           signing key %s\n", client.Fingerprint(c.Old), fingerprint(c.Old.Message), fingerprint(c.Old.Sign))
	fmt.Fprintf(&b, "  offered: %s\n           message key %s\n           signing key %s\n", client.Fingerprint(c.New), fingerprint(c.New.Message), fingerprint(c.New.Sign))
	if c.Vouched {
		b.WriteString("  The old signing key vouches for the new keys: its holder has asked for them.\n")
	} else {
		b.WriteString("  The old signing key does NOT vouch for the new keys: anybody may have put them there.\n")
	}
	fmt.Fprintf(&b, "  Ask %s by another way, compare the fingerprint, and only then: nes trust %s --new %s", user, user, client.Fingerprint(c.New).Hex())
	return b.String()
}

// ChangedText returns what [Changed] says of an error that is a change of keys.
func ChangedText(err error) (string, bool) {
	var c *client.ChangedError
	if !errors.As(err, &c) {
		return "", false
	}
	return Changed(c), true
}
