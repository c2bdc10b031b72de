package main

import (
	"context"
	"fmt"
	"strings"

	"parley/internal/term"
)

type initCmd struct {
	Name    string   `required:"" help:"What others see you as."`
	Relay   []string `placeholder:"ADDR" env:"PARLEY_RELAY" help:"Relay to receive at (smp2020://KEYHASH@HOST:PORT); may be given more than once."`
	Keyring bool     `help:"Keep the key in the keyring of the operating system instead of under a passphrase."`
}

type initResult struct {
	Profile string   `json:"profile"`
	Name    string   `json:"name"`
	Relays  []string `json:"relays"`
	Secret  string   `json:"secret"`
}

func (c *initCmd) Run(ctx context.Context, a *app) error {
	if strings.TrimSpace(term.Line(c.Name)) == "" {
		return usage("--name needs at least one visible character")
	}
	if err := profileFree(a.profile); err != nil {
		return err
	}
	s := secret{have: true, keyring: c.Keyring}
	if !c.Keyring {
		var err error
		if s.text, err = a.newPassphrase(ctx); err != nil {
			return err
		}
	}
	if err := create(ctx, a.profile, c.Name, c.Relay, &s); err != nil {
		return err
	}
	r := initResult{a.profile, c.Name, append([]string{}, c.Relay...), "passphrase"}
	if c.Keyring {
		r.Secret = "keyring"
	}
	return a.result(r, func() string {
		text := fmt.Sprintf("Made the profile of %s in %s.\n", term.Line(c.Name), a.profile)
		if len(c.Relay) == 0 {
			return text + "It has no relay yet: give one to “parley invite --relay ADDR”, or set PARLEY_RELAY.\n"
		}
		return text + "Next: parley invite\n"
	})
}

type passphraseCmd struct {
	NewFile string `placeholder:"FILE" type:"path" help:"Read the new passphrase from the first line of FILE; else it is PARLEY_NEW_PASSPHRASE, else parley asks."`
	Keyring bool   `help:"Keep the key in the keyring of the operating system from now on."`
}

func (c *passphraseCmd) Run(ctx context.Context, a *app) error {
	if err := profileExists(a.profile); err != nil {
		return err
	}
	var old, to secret
	if err := old.load(ctx, a); err != nil {
		return err
	}
	to.have, to.keyring = true, c.Keyring
	if !c.Keyring {
		var err error
		if to.text, err = newOne(ctx, a, c.NewFile); err != nil {
			return err
		}
	}
	if err := changeSecret(a.profile, &old, &to); err != nil {
		return err
	}
	r := struct {
		Profile string `json:"profile"`
		Changed bool   `json:"changed"`
	}{a.profile, true}
	return a.result(r, func() string {
		return "The profile has its new secret. A copy made earlier still opens with the old one.\n"
	})
}

// newOne finds the new passphrase, which is never the one given for opening.
func newOne(ctx context.Context, a *app, file string) (string, error) {
	p, ok, err := given(file, "PARLEY_NEW_PASSPHRASE")
	if ok || err != nil {
		return p, err
	}
	p, err = a.askTwice(ctx)
	if err != nil && strings.Contains(err.Error(), waysToGive) {
		err = fmt.Errorf("%w, and no terminal to ask at for the new one: give it with --new-file FILE or in PARLEY_NEW_PASSPHRASE", errNoPassphrase)
	}
	return p, err
}
