package smpclient

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"

	"parley"
	"parley/carrier/smp"
)

// A secret is what an endpoint's Secret holds, as JSON. A receiving endpoint has
// RID, RK and EK, so that its address (SID and EK's public half) can be deleted
// once the mailbox is secured, as the text wants; a sending one SID, SK and EK.
type secret struct {
	V      int    `json:"v"`
	Server string `json:"server"`
	Bare   bool   `json:"bare,omitempty"`

	RID []byte `json:"rid,omitempty"`
	RK  []byte `json:"rk,omitempty"` // PKCS #8
	EK  []byte `json:"ek,omitempty"` // PKCS #8

	SID  []byte `json:"sid,omitempty"`
	SK   []byte `json:"sk,omitempty"`    // PKCS #8
	Seal []byte `json:"ekpub,omitempty"` // EK's modulus
}

func readSecret(b []byte) (s secret, srv smp.Server, err error) {
	if json.Unmarshal(b, &s) != nil || s.V != 1 {
		return s, srv, errSecret
	}
	srv, err = smp.ParseServer(s.Server)
	if err != nil {
		return s, srv, errSecret
	}
	return s, srv, nil
}

func marshalPrivate(k *rsa.PrivateKey) ([]byte, error) { return x509.MarshalPKCS8PrivateKey(k) }

func parsePrivate(der []byte) (*rsa.PrivateKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errSecret
	}
	r, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, errSecret
	}
	return r, nil
}

// A recipient is the receiving end of a mailbox.
type recipient struct {
	server smp.Server
	rid    smp.ID
	rk, ek *rsa.PrivateKey
	bare   bool
}

func parseRecipient(at parley.Endpoint) (*recipient, error) {
	s, srv, err := readSecret(at.Secret)
	if err != nil {
		return nil, err
	}
	r := &recipient{server: srv, bare: s.Bare}
	var e1, e2, e3 error
	r.rid, e1 = smp.MakeID(s.RID)
	r.rk, e2 = parsePrivate(s.RK)
	r.ek, e3 = parsePrivate(s.EK)
	if errors.Join(e1, e2, e3) != nil || len(s.RID) == 0 {
		return nil, errSecret
	}
	return r, nil
}

// A sender is the sending end of a mailbox.
type sender struct {
	server smp.Server
	sid    smp.ID
	sk     *rsa.PrivateKey
	ek     *rsa.PublicKey
	bare   bool
}

// parseSender parses a sending endpoint; parsed ones are remembered, since a key
// takes longer to parse than to use.
func (c *Client) parseSender(to parley.Endpoint) (*sender, error) {
	key := string(to.Secret)
	c.mu.Lock()
	p := c.senders[key]
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	s, srv, err := readSecret(to.Secret)
	if err != nil {
		return nil, err
	}
	p = &sender{server: srv, bare: s.Bare}
	var e1, e2, e3 error
	p.sid, e1 = smp.MakeID(s.SID)
	p.sk, e2 = parsePrivate(s.SK)
	p.ek, e3 = publicKey(s.Seal)
	if errors.Join(e1, e2, e3) != nil || len(s.SID) == 0 {
		return nil, errSecret
	}
	c.mu.Lock()
	if len(c.senders) >= 1024 {
		clear(c.senders)
	}
	c.senders[key] = p
	c.mu.Unlock()
	return p, nil
}
