package main

import (
	"context"

	"parley/secure/stringphone"
)

// keyFlags are the two keys that most commands need.
type keyFlags struct {
	Topic    string `required:"" placeholder:"FILE" type:"path" help:"The topic key."`
	Identity string `required:"" placeholder:"FILE" type:"path" help:"Our identity."`
}

// readOptions reads the key files. An empty name of the topic key's file: we have none.
func readOptions(a *app, identity, topic string) (o stringphone.Options, err error) {
	if o.Seed, err = readKey(a, "identity", identity); err != nil || topic == "" {
		return o, err
	}
	o.TopicKey, err = readKey(a, "topic key", topic)
	return o, err
}

type topicSealCmd struct {
	keyFlags
	packetFormat
	Lines      bool `help:"Each line of standard input is a text and gives one line with a packet, hex unless --base64."`
	ManualType bool `help:"Write the message type of the manual, 'm', which the library of the same release refuses."`
}

func (c *topicSealCmd) Run(ctx context.Context, a *app) error {
	if c.Lines && !c.Base64 {
		c.Hex = true
	}
	if err := c.checkOutput(a); err != nil {
		return err
	}
	o, err := readOptions(a, c.Identity, c.Topic)
	if err != nil {
		return err
	}
	o.ManualType = c.ManualType
	topic, err := stringphone.NewTopic(o)
	if err != nil {
		return err
	}
	if c.Lines {
		return c.lines(ctx, a, topic)
	}
	text, err := a.readInput(ctx)
	if err != nil {
		return err
	}
	packet, err := topic.Encode(text)
	if err != nil {
		return err
	}
	return c.write(a, packet)
}

// lines seals a stream. A line that is too long is told about and left out.
func (c *topicSealCmd) lines(ctx context.Context, a *app, topic *stringphone.Topic) error {
	return a.eachLine(ctx, func(n int, line []byte, err error) error {
		if err == nil {
			packet, err := topic.Encode(line)
			if err != nil {
				return err
			}
			if a.json {
				return a.emit(sealedLine{n, true, c.text(packet), ""})
			}
			return a.print(c.text(packet) + "\n")
		}
		if a.json {
			return a.emit(sealedLine{n, false, "", err.Error()})
		}
		a.note("line %d: %v", n, err)
		return nil
	})
}

type sealedLine struct {
	Line   int    `json:"line"`
	OK     bool   `json:"ok"`
	Packet string `json:"packet,omitempty"`
	Error  string `json:"error,omitempty"`
}
