package client

import (
	"encoding/json"
	"errors"
	"fmt"

	"parley"
	"parley/carrier/mqtt"
)

// A secret is what an endpoint's Secret holds, as JSON. At holds the topic, so that
// the endpoint's address may be deleted.
type secret struct {
	V        int    `json:"v"`
	At       string `json:"at"`
	ID       string `json:"id,omitempty"` // the session's client ID; none in an end for sending
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
	Max      int    `json:"max"` // bytes
}

var errSecret = fmt.Errorf("%w: the endpoint's secret is not one of MQTT", parley.ErrRefused)

// errLater is how Claim answers packets that come before anybody receives.
var errLater = errors.New("later")

// secret makes an endpoint's secret, with the credentials of now.
func (c *Client) secret(a mqtt.Address) secret {
	s := secret{V: 1, At: a.String(), Max: c.o.Max}
	if c.o.Credentials != nil {
		s.User, s.Password = c.o.Credentials(a.Broker)
	}
	return s
}

func (c *Client) endpoint(a mqtt.Address, s secret) (parley.Endpoint, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return parley.Endpoint{}, err
	}
	return parley.Endpoint{Address: a.Parley(), Secret: b, Max: s.Max}, nil
}

func readSecret(e parley.Endpoint) (s secret, a mqtt.Address, err error) {
	if json.Unmarshal(e.Secret, &s) != nil || s.V != 1 || s.Max <= 0 {
		return s, a, errSecret
	}
	if a, err = mqtt.ParseAddress(parley.Address(s.At)); err != nil {
		return s, a, errSecret
	}
	return s, a, nil
}

// most is the largest packet, within what MQTT can carry.
func (s *secret) most() int { return min(s.Max, maxRemaining-mqtt.MaxTopic-16) }
