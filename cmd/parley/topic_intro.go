package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"parley/secure/stringphone"
)

type topicIntroCmd struct {
	Identity string `required:"" placeholder:"FILE" type:"path" help:"Our identity."`
	Pending  string `placeholder:"FILE" type:"path" help:"Where the key waits that opens the reply; by default the identity's file with .pending behind its name. A key that is there is used again, so that asking twice gives the same introduction."`
	packetFormat
}

const pendingKey = "pending introduction"

// pendingFile is where the key of an introduction waits for the reply.
func pendingFile(pending, identity string) string {
	if pending == "" {
		return identity + ".pending"
	}
	return pending
}

func (c *topicIntroCmd) Run(a *app) error {
	if err := c.checkOutput(a); err != nil {
		return err
	}
	o, err := readOptions(a, c.Identity, "")
	if err != nil {
		return err
	}
	path := pendingFile(c.Pending, c.Identity)
	if o.Ephemeral, _, err = loadOrMake(a, pendingKey, path, stringphone.GenerateSeed); err != nil {
		return err
	}
	topic, err := stringphone.NewTopic(o)
	if err != nil {
		return err
	}
	return c.write(a, topic.ConstructIntro())
}

type topicAcceptReplyCmd struct {
	Identity string `required:"" placeholder:"FILE" type:"path" help:"Our identity."`
	Topic    string `required:"" placeholder:"FILE" type:"path" help:"Where to write the topic key; it must not be there yet."`
	Pending  string `placeholder:"FILE" type:"path" help:"What parley topic intro left; removed when the topic key is on disk."`
	packetFormat
	Pin            []string `placeholder:"PUBKEY" sep:"none" help:"Take the reply of this key only: base64, or @FILE. May be given more than once."`
	AcceptUnsigned bool     `help:"DANGEROUS: take a reply for which nobody vouches, as devices with the original library send it."`
}

// accepted is what came of a reply.
type accepted struct {
	Topic    string `json:"topic"`
	Signed   bool   `json:"signed"`
	Pinned   bool   `json:"pinned"`
	keyOwner        // the signer, or who the reply says it is from
}

func (c *topicAcceptReplyCmd) Run(ctx context.Context, a *app) error {
	if err := pinsOrUnsigned(c.Pin, c.AcceptUnsigned); err != nil {
		return err
	}
	path := pendingFile(c.Pending, c.Identity)
	topic, err := c.joiner(a, path)
	if err != nil {
		return err
	}
	reply, err := c.readPacket(ctx, a)
	if err != nil {
		return coded(acceptCodes, err)
	}
	ok, err := topic.ParseReply(reply)
	if err != nil {
		return coded(acceptCodes, err)
	}
	if !ok {
		return coded(acceptCodes, fmt.Errorf("%w: the reply is for somebody else", errNothing))
	}
	// An unsigned one may lack its end.
	r := accepted{Topic: c.Topic, Signed: !c.AcceptUnsigned, Pinned: len(c.Pin) > 0}
	if key, err := stringphone.Message(reply).SenderKey(); err == nil && len(key) == stringphone.PublicKeySize {
		if r.keyOwner, err = whoIs(key); err != nil {
			return err
		}
	}
	if err := createKey("topic key", c.Topic, topic.TopicKey()); err != nil {
		return err
	}
	if err := c.report(a, r); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		a.note("The topic key is in %s; the %s could not be removed: %v", c.Topic, pendingKey, err)
	}
	return nil
}

// pinsOrUnsigned refuses what contradicts itself: a key can only be recognized by
// its signature.
func pinsOrUnsigned(pins []string, unsigned bool) error {
	if len(pins) > 0 && unsigned {
		return usage("--pin asks for a signature, and --accept-unsigned for none: choose")
	}
	return nil
}

// joiner is the topic as we knew it when we introduced ourselves.
func (c *topicAcceptReplyCmd) joiner(a *app, pending string) (*stringphone.Topic, error) {
	if _, err := os.Lstat(c.Topic); err == nil {
		return nil, usage("topic key: %s is there already, and nothing was changed: name another file", c.Topic)
	}
	if _, err := os.Stat(pending); errors.Is(err, fs.ErrNotExist) {
		return nil, usage("%s: %s is missing: ask with parley topic intro first", pendingKey, pending)
	}
	o, err := readOptions(a, c.Identity, "")
	if err != nil {
		return nil, err
	}
	if o.Ephemeral, err = readKey(a, pendingKey, pending); err != nil {
		return nil, err
	}
	if o.Pins, err = publicKeys("--pin", c.Pin); err != nil {
		return nil, err
	}
	o.AcceptUnsigned = c.AcceptUnsigned
	return stringphone.NewTopic(o)
}

func (c *topicAcceptReplyCmd) report(a *app, r accepted) error {
	switch {
	case !r.Signed:
		a.loud("nobody vouches for this topic key: whoever saw the introduction can have made the reply, in any name, and then reads what you write")
	case !r.Pinned:
		a.loud("compare the fingerprint with the replier's: anybody who saw the introduction can have signed a reply of their own")
	}
	return a.result(r, func() string {
		text := fmt.Sprintf("The topic key is in %s.\n", r.Topic)
		if r.ID == "" {
			return text + "The reply does not say whom it is from.\n"
		}
		if !r.Signed {
			return text + "The reply says, without a proof, that it is from\n" + r.text()
		}
		return text + "The reply is signed by\n" + r.text() + "To read what they write: --trust " + r.PublicKey + "\n"
	})
}

// ownIntro reports whether an introduction is our own.
func ownIntro(intro []byte, us *stringphone.Topic) bool {
	key, err := stringphone.Message(intro).SenderKey()
	return err == nil && bytes.Equal(key, us.PublicKey())
}
