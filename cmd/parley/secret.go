package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"parley/internal/term"
)

// A secret is the passphrase, once it is known; it is kept for the case that
// this process takes the profile over again.
type secret struct {
	text    string
	keyring bool
	have    bool
}

const waysToGive = "give it with --passphrase-file FILE or in PARLEY_PASSPHRASE"

// load finds the passphrase: file, environment, terminal. A profile whose key is
// in the keyring of the operating system needs none.
func (s *secret) load(ctx context.Context, a *app) error {
	if s.have {
		return nil
	}
	need, err := needsPassphrase(a.profile)
	if err != nil {
		return err
	}
	if need {
		if s.text, err = a.passphrase(ctx, "Passphrase: "); err != nil {
			return err
		}
	}
	s.have, s.keyring = true, !need
	return nil
}

// given returns the passphrase that came with the command, if one did.
func (a *app) given() (string, bool, error) { return given(a.passFile, "PARLEY_PASSPHRASE") }

func given(file, variable string) (string, bool, error) {
	if file == "" {
		p := os.Getenv(variable)
		return p, p != "", nil
	}
	f, err := os.Open(file)
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errNoPassphrase, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errNoPassphrase, err)
	}
	p, _, _ := strings.Cut(string(b), "\n")
	p = strings.TrimSuffix(p, "\r")
	if p == "" {
		return "", false, fmt.Errorf("%w: the first line of %s is empty", errNoPassphrase, file)
	}
	return p, true, nil
}

// passphrase returns what was given, or asks for it.
func (a *app) passphrase(ctx context.Context, prompt string) (string, error) {
	if p, ok, err := a.given(); ok || err != nil {
		return p, err
	}
	return a.askPassphrase(ctx, prompt)
}

func (a *app) askPassphrase(ctx context.Context, prompt string) (string, error) {
	p, err := term.Passphrase(ctx, prompt)
	switch {
	case errors.Is(err, term.ErrNoTerminal):
		return "", fmt.Errorf("%w, and no terminal to ask at: %s", errNoPassphrase, waysToGive)
	case errors.Is(err, io.EOF), err == nil && p == "":
		return "", fmt.Errorf("%w: nothing was typed", errNoPassphrase)
	}
	return p, err
}

// newPassphrase asks twice, unless the passphrase came with the command.
func (a *app) newPassphrase(ctx context.Context) (string, error) {
	if p, ok, err := a.given(); ok || err != nil {
		return p, err
	}
	return a.askTwice(ctx)
}

func (a *app) askTwice(ctx context.Context) (string, error) {
	p, err := a.askPassphrase(ctx, "New passphrase: ")
	if err != nil {
		return "", err
	}
	again, err := a.askPassphrase(ctx, "The same again: ")
	if err != nil {
		return "", err
	}
	if p != again {
		return "", fmt.Errorf("%w: the two are different", errNoPassphrase)
	}
	return p, nil
}
