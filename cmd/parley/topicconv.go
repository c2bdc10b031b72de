package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"parley"
	"parley/carrier/mqtt"
	"parley/internal/term"
	"parley/messenger"
	"parley/secure/stringphone"
)

// A topic as a conversation of the messenger. Unlike the live commands, these keep
// what they know in the profile.

type topicAddConversationCmd struct {
	Broker string `short:"b" required:"" placeholder:"URL" env:"PARLEY_MQTT_BROKER" help:"mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS. The password is PARLEY_MQTT_PASSWORD's: a command line can be seen by others."`
	Name   string `short:"t" name:"topic-name" required:"" placeholder:"TOPIC" help:"The MQTT topic."`
	As     string `required:"" placeholder:"NAME" help:"What the conversation is called here."`
	Found  bool   `help:"Make a new topic, instead of asking to be let in."`
	topicSelf
	Timeout time.Duration `default:"10s" help:"How long to wait until the broker has our introduction."`
}

func (c *topicAddConversationCmd) Run(ctx context.Context, a *app) error {
	address, err := c.address(a)
	if err != nil {
		return err
	}
	setup, err := c.setup(a)
	if err != nil {
		return err
	}
	contact, err := once(ctx, a, func(api messenger.API) (messenger.Contact, error) {
		return api.AddConversation(ctx, messenger.ConversationOptions{Name: c.As, STP: parley.StringPhone, Bare: true, Address: address, Setup: setup})
	})
	if err != nil {
		return err
	}
	if contact.State != "connected" {
		timed, cancel := context.WithTimeoutCause(ctx, c.Timeout, errQueued)
		if now, err := answered(timed, a, contact); err == nil {
			contact = now
		}
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Person, error) { return api.People(ctx, contact.Name) })
	if err != nil {
		return err
	}
	return a.result(struct {
		messenger.Contact
		Self messenger.Person `json:"self"`
	}{contact, all[0]}, func() string {
		name := quoted(contact.Name)
		if contact.State == "connected" {
			return fmt.Sprintf("%s is a conversation now. You are %s, fingerprint: %s. Next: parley send %s, parley listen %[4]s\n",
				term.Line(contact.Name), all[0].ID[:8], strings.Join(all[0].Words, " "), name)
		}
		return fmt.Sprintf("Asking to be let into %s as %s. Whoever lets you in should compare your fingerprint: %s. The answer comes while “parley listen %s” or another command runs.\n",
			term.Line(contact.Name), all[0].ID[:8], strings.Join(all[0].Words, " "), name)
	})
}

// address is where the topic is, with what the broker wants to know of us.
func (c *topicAddConversationCmd) address(a *app) (string, error) {
	b, login, err := brokerLogin(a, c.Broker)
	if err != nil {
		return "", err
	}
	if err := mqtt.CheckTopic(c.Name); err != nil {
		return "", usage("-t: %w", err)
	}
	return withLogin(mqtt.Address{Broker: b, Topic: c.Name}.String(), login), nil
}

// brokerLogin parses a broker's address, and completes it with the password from the
// environment. login is nil where there is no user.
func brokerLogin(a *app, text string) (b mqtt.Broker, login *url.Userinfo, err error) {
	if b, err = mqtt.ParseBroker(text); err != nil {
		return b, nil, usage("-b: %w", err)
	}
	switch p := os.Getenv("PARLEY_MQTT_PASSWORD"); {
	case b.Password != "":
		a.note("The password stands in the command line, where others on this machine can see it. Give it in PARLEY_MQTT_PASSWORD.")
	case p != "" && b.User == "":
		return b, nil, usage("PARLEY_MQTT_PASSWORD is set, and -b names no user: mqtt://USER@HOST")
	default:
		b.Password = p
	}
	if b.Password != "" && !b.TLS && !b.Loopback() {
		a.note("Without TLS (mqtts://) everybody on the way to the broker can read the password.")
	}
	if b.User == "" {
		return b, nil, nil
	}
	if login = url.User(b.User); b.Password != "" {
		login = url.UserPassword(b.User, b.Password)
	}
	return b, login, nil
}

// withLogin puts user and password into an address.
func withLogin(address string, login *url.Userinfo) string {
	if login == nil {
		return address
	}
	scheme, rest, _ := strings.Cut(address, "://")
	return scheme + "://" + login.String() + "@" + rest
}

// setup says who we are in the topic and whom we trust.
func (c *topicAddConversationCmd) setup(a *app) ([]byte, error) {
	if c.Found && c.Topic != "" {
		return nil, usage("--found makes a topic key, and --topic names one: give one of them")
	}
	if err := pinsOrUnsigned(c.Pin, c.AcceptUnsigned); err != nil {
		return nil, err
	}
	c.found = c.Found
	s := stringphone.Setup{Name: c.Name, AcceptUnsigned: c.AcceptUnsigned, ManualType: c.ManualType, Found: c.Found}
	var err error
	if s.Mode, err = c.mode(false); err != nil {
		return nil, err
	}
	if c.Identity != "" {
		if s.Seed, err = readKey(a, "identity", c.Identity); err != nil {
			return nil, err
		}
	}
	if c.Topic != "" {
		if s.TopicKey, err = readKey(a, "topic key", c.Topic); err != nil {
			return nil, err
		}
	}
	if s.Trust, err = publicKeys("--trust", c.Trust); err != nil {
		return nil, err
	}
	if s.Pins, err = publicKeys("--pin", c.Pin); err != nil {
		return nil, err
	}
	b, err := s.MarshalBinary()
	if err != nil {
		return nil, usage("%w", err)
	}
	return b, nil
}

type topicPeopleCmd struct {
	Conversation string `arg:"" help:"What the conversation is called here."`
}

func (c *topicPeopleCmd) Run(ctx context.Context, a *app) error {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Person, error) { return api.People(ctx, c.Conversation) })
	if err != nil {
		return err
	}
	if a.json {
		for _, p := range all {
			if err := a.emit(p); err != nil {
				return err
			}
		}
		return nil
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATE\tFINGERPRINT")
	for _, p := range all {
		fmt.Fprintf(w, "%.8s\t%s\t%s\t%s\n", p.ID, personName(p), personState(p), strings.Join(p.Words, " "))
	}
	w.Flush()
	return a.print(b.String())
}

func personName(p messenger.Person) string {
	if p.Name == "" {
		return "-"
	}
	return term.Line(p.Name)
}

func personState(p messenger.Person) string {
	switch {
	case p.State == "self":
		return "you"
	case p.State == "removed":
		return "you, removed"
	case p.State == "asks":
		return "asks to be let in"
	case p.By != "":
		return fmt.Sprintf("%s, let in by %.8s", term.Line(p.State), p.By)
	}
	return term.Line(p.State)
}

// whom is a person of a conversation, as an argument of several words.
type whom struct {
	Conversation string   `arg:"" help:"What the conversation is called here."`
	Person       []string `arg:"" help:"The beginning of the ID (4 digits or more), our name, the fingerprint, or the public key."`
}

func (w *whom) person() string { return strings.Join(w.Person, " ") }

type topicAdmitCmd struct{ whom }

func (c *topicAdmitCmd) Run(ctx context.Context, a *app) error {
	p, err := once(ctx, a, func(api messenger.API) (messenger.Person, error) { return api.Admit(ctx, c.Conversation, c.person()) })
	if err != nil {
		return err
	}
	if err := flushed(ctx, a, p.Contact); err != nil {
		return err
	}
	return a.result(p, func() string {
		return fmt.Sprintf("%.8s is a member now. Fingerprint: %s\n", p.ID, strings.Join(p.Words, " "))
	})
}

type topicExpelCmd struct{ whom }

func (c *topicExpelCmd) Run(ctx context.Context, a *app) error {
	p, err := once(ctx, a, func(api messenger.API) (messenger.Person, error) { return api.Expel(ctx, c.Conversation, c.person()) })
	if err != nil {
		return err
	}
	if err := flushed(ctx, a, p.Contact); err != nil {
		return err
	}
	if p.State == "distrusted" {
		a.loud("In a plain topic nobody can take the topic key back: who was expelled is not listened to here any more, and can still read everything")
	}
	return a.result(p, func() string {
		switch p.State {
		case "denied":
			return fmt.Sprintf("%.8s was not let in, and will not be announced again.\n", p.ID)
		case "distrusted":
			return fmt.Sprintf("%.8s is not listened to any more.\n", p.ID)
		}
		return fmt.Sprintf("%.8s is no member any more. The others have a new key.\n", p.ID)
	})
}

type topicNameCmd struct {
	Conversation string `arg:"" help:"What the conversation is called here."`
	Person       string `arg:"" help:"The beginning of the ID (4 digits or more), our name, or the public key."`
	As           string `arg:"" optional:"" help:"Our name for them; without it they have none any more."`
}

func (c *topicNameCmd) Run(ctx context.Context, a *app) error {
	p, err := repeat(ctx, a, func(api messenger.API) (messenger.Person, error) {
		return api.NamePerson(ctx, c.Conversation, c.Person, c.As)
	})
	if err != nil {
		return err
	}
	return a.result(p, func() string {
		if p.Name == "" {
			return fmt.Sprintf("%.8s has no name any more.\n", p.ID)
		}
		return fmt.Sprintf("%.8s is called %s now.\n", p.ID, term.Line(p.Name))
	})
}

// flushWait is how long the commands that change members wait for the broker.
const flushWait = 10 * time.Second

// flushed waits until nothing for the conversation waits to be sent, for a while.
func flushed(ctx context.Context, a *app, name string) error {
	timed, cancel := context.WithTimeoutCause(ctx, flushWait, errQueued)
	defer cancel()
	for {
		queue, err := repeat(timed, a, func(api messenger.API) ([]messenger.QueueEntry, error) { return api.Queue(timed) })
		waits := false
		for _, e := range queue {
			waits = waits || e.Contact == name && e.Relay != ""
		}
		if err == nil && !waits {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-timed.Done():
			if errors.Is(context.Cause(timed), errQueued) {
				a.note("The broker has not taken it yet: it goes out while “parley listen” or another command runs.")
				return nil
			}
			return context.Cause(timed)
		}
		if err != nil {
			return err
		}
	}
}

// isTopic reports whether a contact is a conversation of many.
func isTopic(c messenger.Contact) bool { return c.Members > 0 }

// author is who is shown as the writer of a message from others.
func author(m messenger.Message) string {
	if m.From == "" {
		return term.Line(m.Contact)
	}
	return term.Line(m.Contact) + "/" + term.Line(m.From)
}
