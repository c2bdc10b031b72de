package smpclient

import (
	"errors"
	"fmt"

	"parley"
	"parley/carrier/smp"
)

var (
	// ErrTakenOver says that another subscriber has taken a mailbox over: another
	// copy of this profile, or somebody who has its key.
	ErrTakenOver = errors.New("another subscriber has taken this mailbox over")
	// ErrReceiving says that a mailbox is being received from already.
	ErrReceiving = errors.New("this mailbox is being received from already")
	// ErrPlain says that a plain address is not on this machine.
	ErrPlain = fmt.Errorf("%w: a plain relay must be on this machine: nothing protects the way to it", parley.ErrRefused)

	errSecret = fmt.Errorf("%w: the endpoint's secret is not one of SMP 2020", parley.ErrRefused)
	errSilent = errors.New("the relay does not answer")
	errReply  = errors.New("the relay answers what nobody asked")
)

// A ServerKeyError says that the relay's key is not the one in its address. The
// relay may have a new key, or somebody intercepts the connection; which of them
// only people can find out. Packets wait: it is a kind of [parley.ErrOffline].
type ServerKeyError struct{ Server parley.Address }

func (e *ServerKeyError) Error() string {
	return fmt.Sprintf("the key of %s is not the one in that address: someone may be intercepting the connection, "+
		"or the relay was set up anew; ask its operator for the address before you go on", e.Server)
}

func (e *ServerKeyError) Is(target error) bool {
	return target == parley.ErrOffline || target == smp.ErrServerKey
}

func offline(err error) error {
	var k *ServerKeyError
	if errors.As(err, &k) || errors.Is(err, parley.ErrOffline) || errors.Is(err, parley.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", parley.ErrOffline, err)
}

// refusal translates what a relay answers. INTERNAL is the relay's own trouble,
// a full disk perhaps: as good as out of reach.
func refusal(c smp.Code) error {
	kind := parley.ErrRefused
	switch c {
	case smp.CodeAuth:
		kind = parley.ErrDenied
	case smp.CodeQuota:
		kind = parley.ErrFull
	case smp.CodeInternal:
		kind = parley.ErrOffline
	}
	return fmt.Errorf("%w: %w", kind, c)
}
