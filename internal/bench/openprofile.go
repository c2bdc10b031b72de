package bench

import (
	"context"
	"errors"

	"parley"
	"parley/builtin"
	"parley/messenger"
	"parley/messenger/profile"
)

// ownedMessenger closes its profile with it.
type ownedMessenger struct {
	*messenger.Messenger
	p *profile.Profile
}

func (m ownedMessenger) Close() error { return errors.Join(m.Messenger.Close(), m.p.Close()) }

// openProfile opens the messenger of a profile as parley does, and makes the
// profile first if there is none, or goes on with making it where a kill ended that.
func openProfile(ctx context.Context, dir, name, relay string) (messenger.API, error) {
	o := profile.Options{Secret: profile.Passphrase("crash test of " + name), Migrations: messenger.Migrations}
	open := profile.Open
	if !profile.Exists(dir) {
		open = profile.Create
	}
	p, err := open(dir, o)
	if err != nil {
		return nil, err
	}
	m, err := builtin.Open(p, builtin.Options{})
	if errors.Is(err, messenger.ErrNoSettings) {
		settings := messenger.Settings{Name: name, Relays: []parley.Address{parley.Address(relay)}}
		if err = messenger.SaveSettings(ctx, p, settings); err == nil {
			m, err = builtin.Open(p, builtin.Options{})
		}
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return ownedMessenger{m, p}, nil
}
