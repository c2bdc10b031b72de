package builtin

import (
	"fmt"

	"parley"
	"parley/carrier/relay"
	"parley/messenger"
)

// relayForms implements [messenger.Mailboxes] for One Time Chat's relay: addresses travel
// as they are, and there are no invitations, for who shares a pad has met.
type relayForms struct{}

func (relayForms) Compact(a parley.Address) ([]byte, error) { return []byte(a), nil }

func (relayForms) Expand(b []byte) (parley.Address, error) {
	a, err := relay.ParseAddress(parley.Address(b))
	return a.Parley(), err
}

func (relayForms) Relay(at parley.Address) (parley.Address, error) {
	a, err := relay.ParseAddress(at)
	if err != nil {
		return "", err
	}
	return a.Server().Parley(), nil
}

func (relayForms) Line(parley.Address) (string, error) {
	return "", fmt.Errorf("%w: a pad is handed over, not offered in a line", messenger.ErrInvitation)
}

func (relayForms) ParseLine(string) (parley.Address, error) {
	return "", fmt.Errorf("%w: a relay of One Time Chat's has none", messenger.ErrInvitation)
}

func (relayForms) Bare(parley.Address) (parley.Address, error) {
	return "", fmt.Errorf("%w: otc: has no bare invitation", messenger.ErrInvitation)
}
