package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/mail"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"parley/builtin"
	"parley/internal/keyfile"
	"parley/internal/rsakey"
	"parley/internal/term"
	"parley/messenger"
)

// accountCmd is about our accounts in older systems, whose users are contacts then
// like any others.
type accountCmd struct {
	Add      accountAddCmd      `cmd:"" help:"Make an account."`
	List     accountListCmd     `cmd:"" help:"List your accounts."`
	Register accountRegisterCmd `cmd:"" help:"Make the account known to its key directory."`
	Rotate   accountRotateCmd   `cmd:"" help:"Give the account new keys. Your contacts are told, and have to compare anew."`
	Presence accountPresenceCmd `cmd:"" help:"Let the account's contacts know while you are here, or not (the default)."`
	Keys     accountKeysCmd     `cmd:"" help:"Print the account's public keys, to hand over where there is no directory."`
	Remove   accountRemoveCmd   `cmd:"" help:"Delete an account with its keys, its mailbox and all contacts it reaches."`
}

type accountAddCmd struct {
	NES accountAddNESCmd `cmd:"" name:"nes" help:"A NES account: messages over an MQTT broker, keys from a directory."`
}

// accountName is an account as an argument.
type accountName struct {
	Name string `arg:"" help:"The account's name."`
}

type accountAddNESCmd struct {
	accountName
	Broker       string `short:"b" default:"mqtt://127.0.0.1:1883" placeholder:"URL" env:"PARLEY_MQTT_BROKER" help:"mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS. The password is PARLEY_MQTT_PASSWORD's."`
	Directory    string `short:"d" default:"http://127.0.0.1:8080" placeholder:"URL" env:"PARLEY_DIRECTORY" help:"The key directory. Empty (-d ''): keys come by hand only."`
	DirectoryKey string `placeholder:"FILE" type:"path" help:"The directory's public key (PEM); without it, the one that it offers is taken and kept."`
	Email        string `short:"e" placeholder:"ADDRESS" help:"Register at the directory at once: the links go to this address."`
	privateKeys
}

// privateKeys are our two keys, from files or new ones.
type privateKeys struct {
	MessageKey string `placeholder:"FILE" type:"path" and:"keys" help:"Use this private key for messages, of the nes command for instance; else a new one is made."`
	SignKey    string `placeholder:"FILE" type:"path" and:"keys" help:"And this one for signing."`
	Size       int    `short:"s" default:"3072" placeholder:"BITS" help:"Bits of new keys."`
}

func (c *privateKeys) read(a *app, s *builtin.NESSetup) (err error) {
	if s.MessageKey, err = c.key(a, c.MessageKey, "for messages"); err == nil {
		s.SignKey, err = c.key(a, c.SignKey, "for signing")
	}
	return err
}

func (c *accountAddNESCmd) Run(ctx context.Context, a *app) error {
	b, login, err := brokerLogin(a, c.Broker)
	if err != nil {
		return err
	}
	if err := checkEmail(c.Email); err != nil {
		return err
	}
	if c.Email != "" && c.Directory == "" {
		return usage("-e registers at a directory, and -d names none")
	}
	setup := builtin.NESSetup{Directory: c.Directory}
	if c.DirectoryKey != "" {
		key, err := os.ReadFile(c.DirectoryKey)
		if err != nil {
			return usage("--directory-key: %w", err)
		}
		if _, err := rsakey.ParsePublic(key); err != nil {
			return usage("--directory-key: %s: %w", c.DirectoryKey, err)
		}
		setup.DirectoryKey = string(key)
	}
	if err := c.read(a, &setup); err != nil {
		return err
	}
	account, err := once(ctx, a, func(api messenger.API) (messenger.Account, error) {
		return api.AddAccount(ctx, messenger.AccountOptions{Kind: builtin.NES, Name: c.Name, Server: withLogin(b.Address(), login), Setup: setup.Marshal()})
	})
	if err != nil {
		return err
	}
	if account.State != "connected" {
		a.note("The broker cannot be reached yet. What is sent to you before it can will not arrive.")
	}
	if c.Email == "" {
		return a.result(account, func() string {
			return fmt.Sprintf("%s is your NES account now. Fingerprint of its keys: %s\nNext: %s\n",
				term.Line(account.Name), strings.Join(account.Fingerprint, " "), c.next(account))
		})
	}
	register := accountRegisterCmd{Kind: builtin.NES, Email: c.Email}
	register.Name = c.Name
	if err := register.Run(ctx, a); err != nil {
		a.note("The account is made all the same: try again with parley account register %s --email ADDRESS", quoted(c.Name))
		return err
	}
	return nil
}

func (c *accountAddNESCmd) next(account messenger.Account) string {
	if account.Directory == "" {
		return fmt.Sprintf("hand over your keys (parley account keys %s), take those of others: parley contact add-nes USER --message-key FILE --sign-key FILE", quoted(account.Name))
	}
	return fmt.Sprintf("parley account register %s --email ADDRESS, then parley contact add-nes USER", quoted(account.Name))
}

// key reads a private key, or makes one.
func (c *privateKeys) key(a *app, file, what string) (string, error) {
	if file != "" {
		b, err := keyfile.Read(file)
		if err == nil {
			_, err = rsakey.ParsePrivate(b)
		}
		if err != nil {
			return "", usage("the key %s: %s: %w", what, file, withoutPath(err))
		}
		return string(b), nil
	}
	if c.Size > 4096 {
		a.note("Making a key of %d bits %s: this can take a minute.", c.Size, what)
	}
	k, err := rsakey.Generate(c.Size)
	if err != nil {
		return "", usage("-s: %w", err)
	}
	return string(rsakey.EncodePrivate(k)), nil
}

// withoutPath keeps a file's name from being said twice.
func withoutPath(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

func checkEmail(address string) error {
	if address == "" {
		return nil
	}
	if m, err := mail.ParseAddress(address); err != nil || m.Address != address {
		return usage("--email: %q is not an e-mail address", address)
	}
	return nil
}

type accountListCmd struct{}

func (c *accountListCmd) Run(ctx context.Context, a *app) error {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Account, error) { return api.Accounts(ctx) })
	if err != nil {
		return err
	}
	if a.json {
		for _, account := range all {
			if err := a.emit(account); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return a.print("None yet. Make one: parley account add nes NAME\n")
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tKIND\tSTATE\tSERVER\tDIRECTORY\tREGISTERED\tPRESENCE\tCONTACTS\tWAITING")
	for _, x := range all {
		yesNo := map[bool]string{true: "yes", false: "no"}
		onOff := map[bool]string{true: "on", false: "off"}
		directory := x.Directory
		if directory == "" {
			directory = "none"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", term.Line(x.Name), term.Line(x.Kind), term.Line(x.State), term.Line(x.Server), term.Line(directory),
			yesNo[x.Registered], onOff[x.Presence], x.Contacts, x.Waiting)
	}
	w.Flush()
	for _, x := range all {
		fmt.Fprintf(&b, "%s: fingerprint %s\n", term.Line(x.Name), term.Line(strings.Join(x.Fingerprint, " ")))
		if x.Why != "" {
			fmt.Fprintf(&b, "%s: %s\n", term.Line(x.Name), term.Line(x.Why))
		}
	}
	return a.print(b.String())
}

type accountRegisterCmd struct {
	accountName
	Email string `short:"e" required:"" placeholder:"ADDRESS" help:"Where the directory sends the links to. It is kept nowhere here."`
	Kind  string `default:"nes" hidden:""`
}

func (c *accountRegisterCmd) Run(ctx context.Context, a *app) error {
	if err := checkEmail(c.Email); err != nil {
		return err
	}
	account, err := once(ctx, a, func(api messenger.API) (messenger.Account, error) {
		return api.Register(ctx, c.Kind, c.Name, c.Email)
	})
	if err != nil {
		return err
	}
	return a.result(account, func() string {
		return fmt.Sprintf("%s is registered at %s. Follow the link in the mail to make it active. Fingerprint of your keys: %s\n",
			term.Line(account.Name), term.Line(account.Directory), strings.Join(account.Fingerprint, " "))
	})
}

type accountRotateCmd struct {
	accountName
	privateKeys
}

func (c *accountRotateCmd) Run(ctx context.Context, a *app) error {
	var setup builtin.NESSetup
	if err := c.read(a, &setup); err != nil {
		return err
	}
	account, err := once(ctx, a, func(api messenger.API) (messenger.Account, error) {
		return api.RotateAccount(ctx, builtin.NES, c.Name, setup.Marshal())
	})
	if err != nil {
		return err
	}
	return a.result(account, func() string {
		return fmt.Sprintf("%s has new keys. Fingerprint: %s\nYour contacts are stopped until they have compared it. The old key still opens what was sealed to it.\n",
			term.Line(account.Name), strings.Join(account.Fingerprint, " "))
	})
}

type accountPresenceCmd struct {
	accountName
	Set string `arg:"" enum:"on,off" help:"on or off."`
}

func (c *accountPresenceCmd) Run(ctx context.Context, a *app) error {
	account, err := repeat(ctx, a, func(api messenger.API) (messenger.Account, error) {
		return api.SetPresence(ctx, builtin.NES, c.Name, c.Set == "on")
	})
	if err != nil {
		return err
	}
	return a.result(account, func() string {
		if account.Presence {
			return fmt.Sprintf("Contacts of %s that you have added learn when you listen or chat, and you when they do. The broker learns it too.\n", term.Line(account.Name))
		}
		return fmt.Sprintf("Contacts of %s learn nothing of when you are here.\n", term.Line(account.Name))
	})
}

type accountKeysCmd struct{ accountName }

func (c *accountKeysCmd) Run(ctx context.Context, a *app) error {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Account, error) { return api.Accounts(ctx) })
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.Name == c.Name && len(x.PublicKeys) == 2 {
			return a.result(x, func() string {
				return fmt.Sprintf("Fingerprint: %s\n\nFor messages:\n%s\nFor signatures:\n%s", strings.Join(x.Fingerprint, " "), x.PublicKeys[0], x.PublicKeys[1])
			})
		}
	}
	return fmt.Errorf("%w: %q; parley account list shows yours", messenger.ErrNoAccount, c.Name)
}

type accountRemoveCmd struct {
	accountName
	Yes bool `help:"Do not ask. Without a terminal nothing is asked."`
}

func (c *accountRemoveCmd) Run(ctx context.Context, a *app) error {
	if a.inTTY && !c.Yes {
		answer, err := a.ask(ctx, fmt.Sprintf("Delete the account %s, its private keys, and all contacts and messages by it? [y/N] ", term.Line(c.Name)))
		if err != nil {
			return err
		}
		if !yes(answer) {
			return fmt.Errorf("%w: nothing was deleted", errInterrupted)
		}
	}
	if _, err := once(ctx, a, func(api messenger.API) (nothing, error) {
		return only(api.RemoveAccount(ctx, builtin.NES, c.Name))
	}); err != nil {
		return err
	}
	r := struct {
		Account string `json:"account"`
		Removed bool   `json:"removed"`
	}{c.Name, true}
	return a.result(r, func() string {
		return fmt.Sprintf("The account %s is gone here. At the directory it stays until you follow the deletion link in its mail.\n", term.Line(c.Name))
	})
}

// addNESCmd makes a contact of a NES user.
type addNESCmd struct {
	User       string        `arg:"" help:"The user's name: 3 to 32 of a-z, 0-9, _ and -."`
	As         string        `placeholder:"NAME" help:"What to call the contact here; by default the user's name."`
	Account    string        `placeholder:"NAME" help:"Your account to reach them by, if you have several."`
	MessageKey string        `placeholder:"FILE" type:"path" and:"keys" help:"The user's public key for messages (PEM), got by another way: no directory is asked."`
	SignKey    string        `placeholder:"FILE" type:"path" and:"keys" help:"And the one for signatures."`
	Timeout    time.Duration `default:"10s" help:"How long to wait for the directory."`
}

func (c *addNESCmd) Run(ctx context.Context, a *app) error {
	o := messenger.PeerOptions{Kind: builtin.NES, Account: c.Account, User: c.User, As: c.As}
	if c.MessageKey != "" {
		var keys [2][]byte
		for i, file := range []string{c.MessageKey, c.SignKey} {
			b, err := os.ReadFile(file)
			if err == nil {
				_, err = rsakey.ParsePublic(b)
			}
			if err != nil {
				return usage("%s: %w", file, withoutPath(err))
			}
			keys[i] = b
		}
		o.Keys = builtin.MarshalNESKeys(keys[0], keys[1])
	}
	contact, err := once(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.AddPeer(ctx, o) })
	if err != nil {
		return err
	}
	if contact.State != "connected" {
		timed, cancel := context.WithTimeoutCause(ctx, c.Timeout, errQueued)
		if now, err := keysCame(timed, a, contact); err == nil {
			contact = now
		}
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return a.result(contact, func() string {
		name := quoted(contact.Name)
		if contact.State != "connected" {
			return fmt.Sprintf("%s is a contact now. The directory has not given the keys yet (parley queue says why): messages wait for them.\n", term.Line(contact.Name))
		}
		return fmt.Sprintf("%s is a contact now. Fingerprint: %s\nCompare it by another way (parley verify %s), then: parley send %[3]s TEXT, parley listen %[3]s\n",
			term.Line(contact.Name), term.Line(strings.Join(contact.Key, " ")), name)
	})
}

// keysCame waits until a contact's keys are known.
func keysCame(ctx context.Context, a *app, contact messenger.Contact) (messenger.Contact, error) {
	for {
		now, err := repeat(ctx, a, func(api messenger.API) (messenger.Contact, error) { return api.Contact(ctx, contact.Name) })
		if err != nil || now.State == "connected" {
			return now, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return contact, context.Cause(ctx)
		}
	}
}
