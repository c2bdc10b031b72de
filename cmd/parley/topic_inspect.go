package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"parley/secure/stringphone"
)

type topicInspectCmd struct {
	packetFormat
	ManualType bool `help:"Read the message type of the manual, 'm'."`
}

// seen is what anybody can see of a packet. Only an introduction proves something
// to somebody without a key: that its sender has the signing key.
type seen struct {
	Type          string   `json:"type"`
	Bytes         int      `json:"bytes"`
	TextBytes     *int     `json:"text_bytes,omitempty"`
	SenderID      string   `json:"sender_id,omitempty"`
	SenderKey     string   `json:"sender_key,omitempty"`
	Fingerprint   []string `json:"fingerprint,omitempty"`
	Digits        string   `json:"digits,omitempty"`
	RecipientID   string   `json:"recipient_id,omitempty"`
	EncryptionKey string   `json:"encryption_key,omitempty"`
	Nonce         string   `json:"nonce"`
	Signature     string   `json:"signature"` // good, bad, unknown or none
	Extra         int      `json:"extra_bytes,omitempty"`

	notes []string
}

func (c *topicInspectCmd) Run(ctx context.Context, a *app) error {
	packet, err := c.readPacket(ctx, a)
	if err != nil {
		return coded(inspectCodes, err)
	}
	s, err := inspect(packet, c.ManualType)
	if err != nil {
		return coded(inspectCodes, err)
	}
	return a.result(s, s.text)
}

func inspect(packet []byte, manual bool) (*seen, error) {
	m := stringphone.Message(packet)
	if manual && len(m) > 0 {
		switch stringphone.Type(m[0]) {
		case stringphone.TypeManual:
			m = append(stringphone.Message{byte(stringphone.TypeMessage)}, m[1:]...)
		case stringphone.TypeMessage:
			return nil, fmt.Errorf("%w: a message of the library's type where the manual's is expected", stringphone.ErrMalformed)
		}
	}
	typ, err := m.Type()
	if err != nil {
		return nil, err
	}
	s := &seen{Type: typ.String(), Bytes: len(packet)}
	tooShort := fmt.Errorf("%w: a %v cannot have %d bytes", stringphone.ErrMalformed, typ, len(m))
	switch {
	case typ == stringphone.TypeMessage && len(m) >= stringphone.Overhead:
		return s, s.message(m)
	case typ == stringphone.TypeIntro && len(m) == stringphone.IntroSize:
		return s, s.intro(m)
	case typ == stringphone.TypeReply && len(m) >= stringphone.ReplySize-stringphone.PublicKeySize:
		return s, s.reply(m)
	}
	return nil, tooShort
}

func (s *seen) message(m stringphone.Message) error {
	id, err1 := m.SenderID()
	box, err2 := m.Ciphertext()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	n := len(m) - stringphone.Overhead
	s.SenderID, s.Nonce, s.TextBytes, s.Signature = hex.EncodeToString(id), hex.EncodeToString(box[:stringphone.NonceSize]), &n, "unknown"
	s.notes = append(s.notes, "The sender is what the message says: only its public key proves it (parley topic open --trust).")
	return nil
}

func (s *seen) intro(m stringphone.Message) error {
	key, err1 := m.SenderKey()
	enc, err2 := m.EncryptionKey()
	if err := errors.Join(err1, err2, s.sender(key)); err != nil {
		return err
	}
	s.EncryptionKey, s.Signature = keyLine(enc), "good"
	if _, err := stringphone.VerifyIntro(m); err != nil {
		s.Signature = "bad"
		s.notes = append(s.notes, "The introduction is FORGED or was damaged: nobody proves to have this key.")
		return nil
	}
	s.notes = append(s.notes, "Its sender has this key. Whose key it is only the fingerprint tells.")
	return nil
}

func (s *seen) reply(m stringphone.Message) error {
	to, err1 := m.RecipientID()
	enc, err2 := m.EncryptionKey()
	box, err3 := m.EncryptedTopicKey()
	key, err4 := m.SenderKey()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	s.RecipientID, s.EncryptionKey, s.Signature = hex.EncodeToString(to), keyLine(enc), "none"
	s.Nonce = hex.EncodeToString(box[:stringphone.NonceSize])
	if len(key) == stringphone.PublicKeySize {
		if err := s.sender(key); err != nil {
			return err
		}
	} else {
		s.notes = append(s.notes, "Its end is missing: it does not say whom it is from.")
	}
	switch {
	case len(m) >= stringphone.SignedReplySize:
		s.Signature, s.Extra = "unknown", len(m)-stringphone.SignedReplySize
		s.notes = append(s.notes, "It may be signed: only who has the introduction can verify that (parley topic accept-reply).")
	default:
		s.Extra = max(0, len(m)-stringphone.ReplySize)
		s.notes = append(s.notes, "It is not signed: anybody who saw the introduction can have made it, in any name.")
	}
	return nil
}

func (s *seen) sender(key []byte) error {
	p, err := whoIs(bytes.Clone(key))
	s.SenderID, s.SenderKey, s.Fingerprint, s.Digits = p.ID, p.PublicKey, p.Fingerprint, p.Digits
	return err
}

func (s *seen) text() string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	row("type", s.Type)
	row("bytes", fmt.Sprint(s.Bytes))
	if s.TextBytes != nil {
		row("text bytes", fmt.Sprint(*s.TextBytes))
	}
	row("for", s.RecipientID)
	row("sender id", s.SenderID)
	row("sender key", s.SenderKey)
	row("fingerprint", strings.Join(s.Fingerprint, " "))
	row("encryption key", s.EncryptionKey)
	row("nonce", s.Nonce)
	row("signature", s.Signature)
	if s.Extra > 0 {
		row("bytes behind it", fmt.Sprint(s.Extra))
	}
	for _, n := range s.notes {
		b.WriteString(n + "\n")
	}
	return b.String()
}
