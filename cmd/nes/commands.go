package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kong"

	"parley/internal/nes"
	"parley/internal/term"
)

type registerCmd struct {
	Email string `short:"e" required:"" placeholder:"ADDRESS" help:"Where the activation link is mailed to."`
}

func (c *registerCmd) Run(ctx context.Context, a *app) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Register(ctx, c.Email); err != nil {
		return err
	}
	if err := a.fingerprint(e.Fingerprint); err != nil {
		return err
	}
	err = a.say("Username registered. Check email for activation.")
	// So that what others send before the first listen is not lost.
	quick, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if claim := e.Claim(quick); claim != nil {
		a.note("Messages are kept for you once nes listen has run: " + claim.Error())
	}
	return err
}

type sendCmd struct {
	To      string `short:"t" required:"" placeholder:"USER" help:"Recipient."`
	Message text   `short:"m" required:"" placeholder:"TEXT" help:"Text, whatever it begins with."`
}

// text is a flag's value that is taken as it is, also when it looks like a flag, and
// checked before anything could have changed its bytes.
type text string

// Decode takes the next argument.
func (t *text) Decode(ctx *kong.DecodeContext) error {
	v, ok := ctx.Scan.Pop().Value.(string)
	switch {
	case !ok:
		return errors.New("expected a text")
	case !utf8.ValidString(v):
		return errors.New("the text is not UTF-8")
	}
	*t = text(v)
	return nil
}

func (c *sendCmd) Run(ctx context.Context, a *app) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Queue(ctx, c.To, string(c.Message)); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, nes.SendTimeout)
	defer cancel()
	if err := e.Flush(limit); err != nil {
		here, _ := e.Waiting()
		a.note(fmt.Sprintf("The outbox keeps %d for the next nes send, listen or chat.", here))
		return nes.Prefix("Cannot send message", err)
	}
	if _, elsewhere := e.Waiting(); elsewhere > 0 {
		a.note(fmt.Sprintf("The outbox keeps %d for other brokers.", elsewhere))
	}
	return a.say("Message sended successfully.")
}

type listenCmd struct {
	Follow bool `short:"f" help:"Go on until a signal comes, whatever standard input says."`
}

func (c *listenCmd) Run(ctx context.Context, a *app) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ready atomic.Bool // before that, Listen returns what is wrong
	down := false
	return e.Listen(ctx, nes.Sink{
		Ready: func() {
			ready.Store(true)
			if c.Follow {
				a.say("Listening.")
				return
			}
			a.say("Press the Enter Key to exit.")
			go func() { // ends with the process at the latest
				bufio.NewReader(a.in).ReadString('\n')
				cancel()
			}()
		},
		Show: func(m nes.Message) error {
			if odd := nes.Odd(m, time.Now()); odd != "" {
				a.note(odd)
			}
			return a.say(nes.Line(m))
		},
		Report:  a.note,
		Changed: func(_, text string) { a.loud(text) },
		State: func(connected bool, err error) {
			switch {
			case !ready.Load():
				return
			case !connected && err != nil && !down:
				a.note("The broker is gone (" + term.Line(err.Error()) + "); nes tries again.")
			case connected && down:
				a.note("The broker is back.")
			}
			down = !connected
		},
	}, nil)
}

type generateCmd struct {
	Size  int  `short:"s" default:"2048" placeholder:"BITS" help:"Size of the keys: 2048 to 16384."`
	Force bool `help:"Keep keys that are there as FILE.old-N and make new ones."`
}

func (c *generateCmd) Run(a *app) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	stop := a.progress(c.Size)
	err = s.Generate(c.Size, c.Force)
	stop()
	if err != nil {
		return err
	}
	if err := a.fingerprint(s.Fingerprint); err != nil {
		return err
	}
	return a.say("Keys generated successfully.")
}

// fingerprint shows ours beside the result.
func (a *app) fingerprint(of func() (string, error)) error {
	f, err := of()
	if err == nil {
		a.note("Fingerprint of your keys: " + f)
	}
	return err
}

// progress shows a dot a second while big keys are made.
func (a *app) progress(bits int) (stop func()) {
	if bits < 3072 || bits > 16384 {
		return func() {}
	}
	fmt.Fprintf(a.err, "Generating two keys of %d bits ", bits)
	tick, done, over := time.NewTicker(time.Second), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-tick.C:
				fmt.Fprint(a.err, ".")
			case <-done:
				fmt.Fprintln(a.err)
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
		<-over
	}
}

type rotateCmd struct {
	Size int `short:"s" default:"2048" placeholder:"BITS" help:"Size of the new keys."`
}

func (c *rotateCmd) Run(ctx context.Context, a *app) error {
	e, err := a.engine()
	if err != nil {
		return err
	}
	defer e.Close()
	stop := a.progress(c.Size)
	err = e.Rotate(ctx, c.Size)
	stop()
	if err != nil {
		return err
	}
	if err := a.fingerprint(e.Fingerprint); err != nil {
		return err
	}
	return a.say("Keys rotated successfully. Those who know the old ones will be asked to accept the new.")
}

type trustCmd struct {
	User string `arg:"" help:"Whose keys."`
	New  string `placeholder:"FINGERPRINT" help:"Accept the keys on offer, which have this fingerprint: compare it with the user by another way first."`
}

func (c *trustCmd) Run(ctx context.Context, a *app) error {
	if err := nes.CheckPeer(c.User); err != nil {
		return err
	}
	e, err := a.engine()
	if err != nil {
		return err
	}
	defer e.Close()
	if e.Self(c.User) {
		return c.own(ctx, a, e)
	}
	o, err := e.Offered(ctx, c.User)
	if err != nil {
		return err
	}
	if c.New == "" {
		if err := a.say(strings.TrimSuffix(o.String(), "\n")); err != nil || o.Pinned == nil || o.Same() {
			return err
		}
		return nes.Errorf(nes.Untrusted, "The keys have changed. Accept them with --new FINGERPRINT, once you have compared it.")
	}
	if err := e.Trust(c.User, o, c.New); err != nil {
		return nes.Prefix("Nothing was changed", err)
	}
	return a.say("The keys of " + term.Line(c.User) + " were accepted.")
}

// own compares our keys with what others are given for them.
func (c *trustCmd) own(ctx context.Context, a *app, e *nes.Engine) error {
	if c.New != "" {
		return nes.Errorf(nes.Usage, "%s is you: your keys are those on this device, and there is nothing to accept", c.User)
	}
	o, err := e.OwnKeys(ctx)
	if err != nil {
		return err
	}
	if err := a.say(strings.TrimSuffix(o.String(), "\n")); err != nil {
		return err
	}
	if !o.Same() {
		return nes.Errorf(nes.Untrusted, "The provider offers others other keys for %s than those on this device: who sends to you does not reach you, or somebody else reads it.", c.User)
	}
	return a.say("These are your own keys, and the provider offers the same ones.")
}

type configCmd struct {
	Show  bool `short:"s" xor:"do" required:"" help:"Show all settings and where each is from."`
	Store bool `short:"S" xor:"do" required:"" help:"Store the settings that are given as flags into the config file."`
}

func (c *configCmd) Run(a *app) error {
	if c.Store {
		return a.store()
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	there := ""
	if _, err := os.Stat(s.Config); err != nil {
		there = " (not there)"
	}
	if err := a.say("# " + term.Line(s.Config) + there); err != nil {
		return err
	}
	switch f, err := s.Fingerprint(); {
	case err == nil:
		f = "# Fingerprint of your keys: " + f
		if err := a.say(f); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		a.note("Your keys cannot be read: " + err.Error())
	}
	for _, f := range nes.Fields {
		from := s.Values[f.Name].From
		if from == "" {
			from = "default"
		}
		if err := a.say(fmt.Sprintf("%s = %s # %s", f.Name, term.Line(s.Shown(f.Name)), from)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) store() error {
	home, err := os.UserHomeDir()
	if err != nil {
		return nes.Errorf(nes.Files, "no home folder: %w", err)
	}
	values, err := nes.Storable(a.cli.given(), a.cli.Public)
	if err != nil {
		return err
	}
	path := a.cli.Config
	if path == "" {
		path = home + "/.nes/config"
	}
	if err := nes.StoreConfig(path, values); err != nil {
		return nes.Errorf(nes.Files, "Cannot store config: %w", err)
	}
	return a.say("Config stored successfully.")
}

type versionCmd struct{}

func (c *versionCmd) Run(a *app) error {
	version := "development"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	return a.say(version)
}
