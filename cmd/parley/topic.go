package main

import (
	"errors"
	"fmt"
	"strings"

	"parley/secure/stringphone"
)

// topicCmd is String phone on the command line. The commands here are filters
// over key files and need no profile.
type topicCmd struct {
	New         topicNewCmd         `cmd:"" help:"Make a topic key: whoever has it reads the topic."`
	Identity    topicIdentityCmd    `cmd:"" help:"Make an identity, or show who an identity is."`
	Seal        topicSealCmd        `cmd:"" help:"Encrypt and sign a text."`
	Open        topicOpenCmd        `cmd:"" help:"Verify and decrypt a message."`
	Intro       topicIntroCmd       `cmd:"" help:"Ask for the topic key: print an introduction."`
	Reply       topicReplyCmd       `cmd:"" help:"Answer an introduction: give its sender the topic key."`
	AcceptReply topicAcceptReplyCmd `cmd:"" help:"Take the topic key from the reply to our introduction."`
	Inspect     topicInspectCmd     `cmd:"" help:"Show what anybody can see of a message."`

	Join    topicJoinCmd    `cmd:"" help:"Join an MQTT topic, or make one, and let others in."`
	Sub     topicSubCmd     `cmd:"" help:"Print each message of an MQTT topic."`
	Pub     topicPubCmd     `cmd:"" help:"Say something in an MQTT topic."`
	Members topicMembersCmd `cmd:"" help:"Show who is in an MQTT topic."`
	Remove  topicRemoveCmd  `cmd:"" help:"Remove members: the others get a new topic key."`
	Rotate  topicRotateCmd  `cmd:"" help:"Give the topic a new key."`

	AddConversation topicAddConversationCmd `cmd:"" help:"Make an MQTT topic a conversation of the messenger: send, listen and history then work as with a contact."`
	People          topicPeopleCmd          `cmd:"" help:"Show who is in such a conversation, and who asks to be let in."`
	Admit           topicAdmitCmd           `cmd:"" help:"Let somebody into such a conversation."`
	Expel           topicExpelCmd           `cmd:"" help:"Remove somebody from such a conversation, or turn away who asks."`
	Name            topicNameCmd            `cmd:"" help:"Give somebody in such a conversation a name."`
}

// Exit codes of the topic commands that read messages, beside 0, 1, 2 and 130.
// They are a table of their own: 3 and 10 to 12 mean something else in the general one.
const (
	exitNothing       = 3
	exitUntrusted     = 10
	exitBadSignature  = 11
	exitMalformed     = 12
	exitNoTopicKey    = 13
	exitIntroduction  = 14
	exitIntroReply    = 15
	exitWrongTopicKey = 16
	exitReplay        = 17
	exitUnsigned      = 18
	exitNotPinned     = 19
)

// errNothing says that there is nothing to show, which is not an error in a
// stream of messages, but an answer that differs from an empty text.
var errNothing = errors.New("nothing to show")

type topicCode struct {
	code    int
	kind    error
	meaning string
}

// openCodes is the table of parley topic open.
var openCodes = []topicCode{
	{exitOK, nil, "the text is on standard output"},
	{exitUsage, errUsage, "the command line or a key file is wrong"},
	{exitNothing, errNothing, "nothing to show: our own message, an ignored sender, an introduction or reply that is not for us"},
	{exitUntrusted, stringphone.ErrUntrustedKey, "the sender's key is not trusted"},
	{exitBadSignature, stringphone.ErrBadSignature, "bad signature"},
	{exitMalformed, stringphone.ErrMalformed, "malformed"},
	{exitNoTopicKey, stringphone.ErrMissingTopicKey, "no topic key"},
	{exitIntroduction, stringphone.ErrIntroduction, "an introduction"},
	{exitIntroReply, stringphone.ErrIntroductionReply, "the reply to an introduction"},
	{exitWrongTopicKey, stringphone.ErrWrongTopicKey, "encrypted with another topic key"},
	{exitReplay, stringphone.ErrReplay, "seen before (with --guard)"},
}

// replyCodes is the table of reply, and acceptCodes that of accept-reply.
var replyCodes = []topicCode{
	{exitOK, nil, "the reply is on standard output"},
	{exitUsage, errUsage, "the command line or a key file is wrong"},
	{exitNothing, errNothing, "our own introduction"},
	{exitBadSignature, stringphone.ErrBadSignature, "bad signature: the introduction is forged or damaged"},
	{exitMalformed, stringphone.ErrMalformed, "not an introduction, or one that would publish the topic key"},
	{exitInterrupted, errInterrupted, "somebody at the terminal said no"},
}

var acceptCodes = []topicCode{
	{exitOK, nil, "the topic key is in the file"},
	{exitUsage, errUsage, "the command line or a key file is wrong, or the topic key's file is there already"},
	{exitNothing, errNothing, "a reply to somebody else"},
	{exitBadSignature, stringphone.ErrBadSignature, "bad signature: forged, damaged, or the answer to another introduction"},
	{exitMalformed, stringphone.ErrMalformed, "not a reply"},
	{exitWrongTopicKey, stringphone.ErrWrongReply, "does not open: the answer to another introduction"},
	{exitUnsigned, stringphone.ErrUnsignedReply, "not signed (see --accept-unsigned)"},
	{exitNotPinned, stringphone.ErrNotPinned, "signed by another key than the pinned ones"},
}

var inspectCodes = []topicCode{
	{exitOK, nil, "what can be seen is on standard output"},
	{exitUsage, errUsage, "the command line is wrong"},
	{exitMalformed, stringphone.ErrMalformed, "malformed"},
}

// coded gives err the exit code of a table.
func coded(table []topicCode, err error) error {
	if err == nil || errors.Is(err, errUsage) {
		return err
	}
	for _, c := range table {
		if c.kind != nil && errors.Is(err, c.kind) {
			return &ownCode{c.code, err}
		}
	}
	return err
}

func codesText(table []topicCode) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %3d  %s\n", table[0].code, table[0].meaning)
	for _, c := range table[1:] {
		fmt.Fprintf(&b, "  %3d  %s\n", c.code, c.meaning)
	}
	b.WriteString("\n    1 and 130 are as everywhere (parley help exit-codes); 3 and 10 to 12 are not.\n")
	return b.String()
}

func (*topicOpenCmd) exitTable() string        { return codesText(openCodes) }
func (*topicReplyCmd) exitTable() string       { return codesText(replyCodes) }
func (*topicAcceptReplyCmd) exitTable() string { return codesText(acceptCodes) }
func (*topicInspectCmd) exitTable() string     { return codesText(inspectCodes) }
