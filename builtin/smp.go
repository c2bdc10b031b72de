package builtin

import (
	"errors"
	"fmt"

	"parley"
	smpclient "parley/carrier/smp/client"
	"parley/messenger"
)

// smpForms implements [messenger.Mailboxes] for SMP of October 2020.
type smpForms struct{}

func (smpForms) Compact(a parley.Address) ([]byte, error) {
	m, err := smpclient.ParseMailbox(a)
	if err != nil {
		return nil, err
	}
	return m.AppendBinary(nil)
}

func (smpForms) Expand(b []byte) (parley.Address, error) {
	m, rest, err := smpclient.ParseBinary(b)
	if err != nil {
		return "", err
	}
	if len(rest) > 0 {
		return "", errors.New("a mailbox's address has something behind it")
	}
	return m.Address(), nil
}

func (smpForms) Relay(a parley.Address) (parley.Address, error) { return smpclient.Relay(a) }

func (smpForms) Line(a parley.Address) (string, error) {
	m, err := smpclient.ParseMailbox(a)
	if err != nil {
		return "", err
	}
	return m.OutOfBand()
}

func (smpForms) ParseLine(line string) (parley.Address, error) {
	m, err := smpclient.FromOutOfBand(line)
	if err != nil {
		return "", fmt.Errorf("%w: %w", messenger.ErrInvitation, err)
	}
	return m.Address(), nil
}

func (smpForms) Bare(relay parley.Address) (parley.Address, error) {
	return smpclient.Bare(relay), nil
}
