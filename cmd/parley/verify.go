package main

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"parley/internal/qr"
	"parley/internal/term"
	"parley/messenger"
)

type verifyCmd struct {
	Contact string  `arg:""`
	Yes     bool    `xor:"answer" help:"You have compared them, and they are the same."`
	No      bool    `xor:"answer" help:"They differ, or you take your word back: not verified any more."`
	Compare *string `xor:"answer" placeholder:"TEXT" help:"Compare with TEXT: the words, the digits or the text of the code that your contact sees."`
}

func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	n, err := repeat(ctx, a, func(api messenger.API) (messenger.SafetyNumber, error) { return api.SafetyNumber(ctx, c.Contact) })
	if err != nil {
		return err
	}
	if !a.json {
		if err := a.print(a.safetyNumber(n)); err != nil {
			return err
		}
	}
	answer := ""
	switch {
	case c.Yes:
		answer = "same"
	case c.No:
		answer = "different"
	case c.Compare != nil:
		if canonical(*c.Compare) == "" {
			return usage("--compare needs the words, the digits or the code's text")
		}
		answer = "different"
		if sameNumber(n, *c.Compare) {
			answer = "same"
		}
	case a.inTTY && !a.json:
		if answer, err = a.compare(ctx, n); err != nil {
			return err
		}
	}
	if answer != "" {
		if _, err := repeat(ctx, a, func(api messenger.API) (nothing, error) {
			return only(api.SetVerified(ctx, n, answer == "same"))
		}); err != nil {
			return err
		}
		n.Verified = answer == "same"
	}
	who := term.Line(n.Contact)
	if a.json {
		if err := a.emit(n); err != nil {
			return err
		}
	} else if answer == "same" {
		if err := a.printf("Verified: nobody sits between you and %s.\n", who); err != nil {
			return err
		}
	}
	if answer == "different" {
		return fmt.Errorf("%w: %s is not verified. Do not trust this conversation; make a new invitation and hand it over in person", errMismatch, who)
	}
	return nil
}

func (a *app) compare(ctx context.Context, n messenger.SafetyNumber) (string, error) {
	answer, err := a.ask(ctx, fmt.Sprintf("Does %s see the same? [y = the same / n = different / Enter = not now] ", term.Line(n.Contact)))
	if err != nil {
		return "", err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return "same", nil
	case "n", "no":
		return "different", nil
	}
	return "", nil
}

func (a *app) safetyNumber(n messenger.SafetyNumber) string {
	var b strings.Builder
	who := term.Line(n.Contact)
	fmt.Fprintf(&b, "Safety number with %s", who)
	if n.Verified {
		b.WriteString(" (verified)")
	}
	b.WriteString("\n\n")
	for i, w := range n.Words {
		switch {
		case i%4 == 0:
			b.WriteString("    ")
		default:
			b.WriteString(" ")
		}
		b.WriteString(term.Line(w))
		if i%4 == 3 || i == len(n.Words)-1 {
			b.WriteString("\n")
		}
	}
	fmt.Fprintf(&b, "\n    %s\n\n", term.Line(n.Digits))
	if code, err := qr.Encode(n.QR); err == nil && n.QR != "" {
		b.WriteString(code.Draw(a.colour))
	}
	fmt.Fprintf(&b, "Read the words or digits to %s over the phone or in person: not over this line.\n", who)
	return b.String()
}

// canonical is what is compared: letters in lower case and digits.
func canonical(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

func sameNumber(n messenger.SafetyNumber, text string) bool {
	text = canonical(text)
	for _, form := range []string{strings.Join(n.Words, " "), n.Digits, n.QR} {
		if f := canonical(form); f != "" && f == text {
			return true
		}
	}
	return false
}
