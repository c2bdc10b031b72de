package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"parley/secure/stringphone"
)

type topicOpenCmd struct {
	Topic    string `placeholder:"FILE" type:"path" help:"The topic key; without it, introductions are for others and replies are reported."`
	Identity string `required:"" placeholder:"FILE" type:"path" help:"Our identity: its own messages are not shown."`
	packetFormat
	Trust           []string `placeholder:"PUBKEY" sep:"none" help:"Whose messages to show: a public key in base64, or @FILE. May be given more than once."`
	Lines           bool     `help:"Each line of standard input is a packet, hex unless --base64, and gives one line with a text. A bad line never ends it."`
	IgnoreUntrusted bool     `help:"Messages of others than --trust are nothing to show, instead of an error."`
	Naive           bool     `help:"DANGEROUS: don't look at signatures, so that every member can speak in the name of every other."`
	ManualType      bool     `help:"Read the message type of the manual, 'm'."`
	Guard           string   `placeholder:"FILE" type:"path" help:"Show no box twice: remember in FILE, across runs, what was shown."`
}

// opener opens one packet after the other.
type opener struct {
	a     *app
	topic *stringphone.Topic
	modes []stringphone.DecodeMode
	guard *guardFile // nil: none
	naive bool
}

// opened is one packet's outcome, as --json shows it.
type opened struct {
	Line     int     `json:"line,omitempty"`
	OK       bool    `json:"ok"`
	Text     *string `json:"text,omitempty"`
	Base64   *string `json:"base64,omitempty"`
	Sender   string  `json:"sender,omitempty"` // what the message claims, unless verified
	Verified bool    `json:"verified"`
	Code     int     `json:"code"`
	Error    string  `json:"error,omitempty"`
}

func (c *topicOpenCmd) Run(ctx context.Context, a *app) error {
	if c.Lines && !c.Base64 {
		c.Hex = true
	}
	o, err := c.opener(ctx, a)
	if err != nil {
		return err
	}
	defer o.guard.close()
	if c.Naive {
		a.loud("--naive: signatures are not verified, so that any member can have written any of this in any name")
	}
	if c.Lines {
		return c.lines(ctx, o)
	}
	packet, err := c.readPacket(ctx, a)
	if err == nil {
		err = o.open(ctx, packet, func(text []byte) error {
			if a.json {
				return a.emit(o.good(packet, text))
			}
			return a.showText(text)
		})
	}
	return coded(openCodes, err)
}

func (c *topicOpenCmd) opener(ctx context.Context, a *app) (*opener, error) {
	options, err := readOptions(a, c.Identity, c.Topic)
	if err != nil {
		return nil, err
	}
	if options.Participants, err = publicKeys("--trust", c.Trust); err != nil {
		return nil, err
	}
	options.ManualType = c.ManualType
	o := &opener{a: a, naive: c.Naive}
	if c.Guard != "" {
		if o.guard, err = openGuard(ctx, c.Guard); err != nil {
			return nil, err
		}
		options.Guard = o.guard.guard
	}
	if c.Naive {
		o.modes = append(o.modes, stringphone.Naive)
	}
	if c.IgnoreUntrusted {
		o.modes = append(o.modes, stringphone.IgnoreUntrusted)
	}
	if o.topic, err = stringphone.NewTopic(options); err != nil {
		o.guard.close()
		return nil, err
	}
	return o, nil
}

// open gives show the text of a packet. With a guard the text is shown first and
// remembered then: a crash in between shows it twice, the other way round would
// lose it.
func (o *opener) open(ctx context.Context, packet []byte, show func([]byte) error) error {
	if o.guard == nil {
		text, err := o.decode(packet)
		if err == nil {
			err = show(text)
		}
		return err
	}
	if err := o.guard.begin(ctx); err != nil {
		return err
	}
	defer o.guard.end()
	text, err := o.decode(packet)
	if err != nil {
		return err
	}
	if err := show(text); err != nil {
		return err
	}
	return o.guard.save()
}

func (o *opener) decode(packet []byte) ([]byte, error) {
	text, err := o.topic.Decode(packet, o.modes...)
	switch {
	case errors.Is(err, stringphone.ErrUntrustedKey):
		return nil, fmt.Errorf("%w (--trust PUBKEY; the message says that it is from %s)", err, claimed(packet))
	case err != nil:
		return nil, err
	case text == nil:
		return nil, fmt.Errorf("%w: %s", errNothing, o.why(packet))
	}
	return text, nil
}

// why says what there is nothing to show of.
func (o *opener) why(packet []byte) string {
	switch typ, _ := stringphone.Message(packet).Type(); typ {
	case stringphone.TypeIntro:
		if key, _ := stringphone.Message(packet).SenderKey(); bytes.Equal(key, o.topic.PublicKey()) {
			return "our own introduction"
		}
		return "an introduction, which only holders of the topic key can answer"
	case stringphone.TypeReply:
		if o.topic.TopicKey() == nil {
			return "our own reply"
		}
		return "a reply, and the topic key is known already"
	}
	if claimed(packet) == o.topic.ID().String() {
		return "our own message"
	}
	return "a message of somebody who is not trusted"
}

// claimed is the ID that a message of whole length carries.
func claimed(packet []byte) string {
	if len(packet) < stringphone.Overhead {
		return ""
	}
	return stringphone.ID(packet[65:]).String()
}

func (o *opener) good(packet, text []byte) opened {
	r := opened{OK: true, Sender: claimed(packet), Verified: !o.naive}
	r.Text, r.Base64 = jsonText(text)
	return r
}

// lines opens a stream. Only what concerns the stream itself ends it: the output,
// the guard's file, the end of the input.
func (c *topicOpenCmd) lines(ctx context.Context, o *opener) error {
	return o.a.eachLine(ctx, func(n int, line []byte, err error) error {
		var packet []byte
		if err == nil {
			packet, err = c.read(line)
		} else {
			err = fmt.Errorf("%w: %w", stringphone.ErrMalformed, err)
		}
		if err == nil {
			err = o.open(ctx, packet, func(text []byte) error {
				if !o.a.json {
					return o.a.showLine(text)
				}
				r := o.good(packet, text)
				r.Line = n
				return o.a.emit(r)
			})
		}
		if err == nil {
			return nil
		}
		var own *ownCode
		if err = coded(openCodes, err); !errors.As(err, &own) {
			return err // not the line's fault
		}
		return o.tell(n, packet, own)
	})
}

// tell reports a line that gave no text. Nothing to show is worth a line of JSON
// only: in a topic our own messages come back.
func (o *opener) tell(n int, packet []byte, own *ownCode) error {
	if o.a.json {
		r := opened{Line: n, Code: own.code, Error: own.Error()}
		if typ, _ := stringphone.Message(packet).Type(); typ == stringphone.TypeMessage {
			r.Sender = claimed(packet)
		}
		return o.a.emit(r)
	}
	if own.code != exitNothing {
		o.a.note("line %d: %v", n, own)
	}
	return nil
}
