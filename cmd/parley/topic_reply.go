package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"parley/internal/term"
	"parley/secure/stringphone"
)

type topicReplyCmd struct {
	keyFlags
	packetFormat
	Unsigned bool `help:"Write the 153 bytes of the original, for which nobody vouches."`
	Yes      bool `short:"y" help:"Don't ask, also not at a terminal."`
}

func (c *topicReplyCmd) Run(ctx context.Context, a *app) error {
	if err := c.checkOutput(a); err != nil {
		return err
	}
	o, err := readOptions(a, c.Identity, c.Topic)
	if err != nil {
		return err
	}
	topic, err := stringphone.NewTopic(o)
	if err != nil {
		return err
	}
	intro, err := c.readPacket(ctx, a)
	if err != nil {
		return coded(replyCodes, err)
	}
	key, err := stringphone.VerifyIntro(intro)
	if err != nil {
		return coded(replyCodes, err)
	}
	if ownIntro(intro, topic) {
		return coded(replyCodes, fmt.Errorf("%w: our own introduction", errNothing))
	}
	construct := topic.ConstructReply
	if c.Unsigned {
		construct = topic.ConstructUnsignedReply
	}
	reply, err := construct(intro)
	if err != nil {
		return coded(replyCodes, err)
	}
	who, err := whoIs(key)
	if err != nil {
		return err
	}
	a.note("The introduction is from\n%s", strings.TrimSuffix(who.text(), "\n"))
	if !c.Yes {
		if err := a.approve(ctx); err != nil {
			return err
		}
	}
	if err := c.write(a, reply); err != nil {
		return err
	}
	a.note("With this reply they read everything in the topic. To read what they write: --trust %s", who.PublicKey)
	return nil
}

// approve asks somebody at the terminal, if there is one: standard input is the
// introduction. For a script, giving the command is the decision.
func (a *app) approve(ctx context.Context) error {
	if f, ok := a.err.(*os.File); !ok || !term.IsTerminal(f) {
		return nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer tty.Close()
	return approveAt(ctx, tty, tty)
}

// approveAt takes nothing but a yes for one.
func approveAt(ctx context.Context, in io.Reader, out io.Writer) error {
	answer, err := term.Ask(ctx, bufio.NewReader(in), out, "Is that the fingerprint on their side? Give them the topic key? [y/N] ")
	if err != nil && err != io.EOF {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("%w: no reply was made", errInterrupted)
}
