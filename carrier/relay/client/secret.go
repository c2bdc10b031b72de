package client

import (
	"encoding/json"
	"fmt"
	"slices"

	"parley"
	"parley/carrier/relay"
)

// A secret is what an endpoint's Secret holds, as JSON. At holds the whole address, so
// that the endpoint's own may be deleted.
type secret struct {
	V       int    `json:"v"`
	At      string `json:"at"`
	Own     bool   `json:"own,omitempty"` // the end that receives
	Receive string `json:"receive,omitempty"`
	Self    string `json:"self,omitempty"` // our name, at the end that sends
	Max     int    `json:"max"`            // bytes
}

// A mark is what an endpoint's Mark holds: the first number that has not come, and those
// that were kept and that the relay may hold still.
type mark struct {
	Next int64       `json:"next"`
	Done []int64     `json:"done,omitempty"`
	Sums []relay.Sum `json:"sums,omitempty"` // of those
}

var (
	errSecret = fmt.Errorf("%w: the endpoint's secret is not one of a relay", parley.ErrRefused)
	errMark   = fmt.Errorf("%w: the endpoint's mark is not one of a relay", parley.ErrRefused)
)

func endpoint(a relay.Address, s secret) (parley.Endpoint, error) {
	s.V, s.At = 1, a.String()
	b, err := json.Marshal(s)
	if err != nil {
		return parley.Endpoint{}, err
	}
	return parley.Endpoint{Address: a.Parley(), Secret: b, Max: s.Max}, nil
}

func readSecret(e parley.Endpoint) (s secret, a relay.Address, err error) {
	if json.Unmarshal(e.Secret, &s) != nil || s.V != 1 || s.Max <= 0 {
		return s, a, errSecret
	}
	if a, err = relay.ParseAddress(parley.Address(s.At)); err != nil || a.UID == "" {
		return s, a, errSecret
	}
	if s.Receive != "" && !relay.IsToken(s.Receive) || !s.Own && relay.CheckUID(s.Self) != nil {
		return s, a, errSecret
	}
	return s, a, nil
}

func readMark(b []byte) (m mark, err error) {
	if len(b) == 0 {
		return m, nil // from the first message on, also those from before our first start
	}
	if json.Unmarshal(b, &m) != nil || m.Next < 0 || len(m.Done) > relay.MaxDone || len(m.Sums) != len(m.Done) {
		return m, errMark
	}
	return m, nil
}

// after is the mark when a message was kept; forget: and the relay need not keep it.
func (m mark) after(msg relay.Message, forget bool) mark {
	m.Next = msg.Ref + 1
	if forget {
		m.Done = append(slices.Clone(m.Done), msg.Ref)
		m.Sums = append(slices.Clone(m.Sums), relay.SumOf(msg.Contents))
	}
	return m
}

func (m mark) bytes() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // it has numbers alone
	}
	return b
}
