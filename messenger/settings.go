package messenger

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"parley"
	"parley/messenger/profile"
)

// Settings are what a profile says about its owner.
type Settings struct {
	Name     string           `json:"name"`               // what peers are told to call us
	Device   string           `json:"device,omitempty"`   // and this device; may be empty
	Relays   []parley.Address `json:"relays,omitempty"`   // where mailboxes are made when nobody says where
	Receipts string           `json:"receipts,omitempty"` // for new contacts; empty: "delivered"
	Number   []byte           `json:"number"`             // the device's random ID; set by Save
}

// ErrNoSettings means that the profile has no owner's name yet.
var ErrNoSettings = errors.New("the profile has not been set up: it has no name")

// SaveSettings writes them into a profile that no messenger is open on.
func SaveSettings(ctx context.Context, p *profile.Profile, s Settings) error {
	name, err := ownName(s.Name)
	if err != nil {
		return err
	}
	s.Name = name
	if s.Device != "" {
		if s.Device, err = ownName(s.Device); err != nil {
			return err
		}
	}
	if s.Receipts == "" {
		s.Receipts = "delivered"
	}
	if err := checkReceipts(s.Receipts); err != nil {
		return err
	}
	if len(s.Number) == 0 {
		s.Number = make([]byte, 16)
		rand.Read(s.Number)
	}
	if len(s.Number) != 16 {
		return fmt.Errorf("messenger: a device's number has 16 bytes, not %d", len(s.Number))
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return p.Tx(ctx, func(pt *profile.Tx) error {
		return (&tx{Tx: pt, ctx: ctx}).set("owner", b)
	})
}

// ReadSettings returns what SaveSettings wrote, or [ErrNoSettings].
func ReadSettings(ctx context.Context, p *profile.Profile) (s Settings, err error) {
	err = p.Tx(ctx, func(pt *profile.Tx) error {
		b, err := (&tx{Tx: pt, ctx: ctx}).setting("owner")
		if err != nil {
			return err
		}
		if b == nil {
			return ErrNoSettings
		}
		return json.Unmarshal(b, &s)
	})
	return s, err
}
