package messenger

import (
	"context"
	"crypto/rand"
	"fmt"

	"parley"
	"parley/content"
)

// mostReceipts keeps a packet of receipts within one unit of a relay.
const mostReceipts = 32

func checkReceipts(level string) error {
	switch level {
	case "none", "delivered", "read":
		return nil
	}
	return fmt.Errorf("%w: receipts are none, delivered or read, not %q", ErrState, level)
}

func receiptLevel(level string) content.Level {
	switch level {
	case "delivered":
		return content.DeliveredReceipts
	case "read":
		return content.ReadReceipts
	}
	return content.NoReceipts
}

// SetReceipts says what we tell a contact about its messages, from now on.
func (m *Messenger) SetReceipts(ctx context.Context, name, level string) error {
	if err := checkReceipts(level); err != nil {
		return err
	}
	return m.tx(ctx, "receipts", func(t *tx) error {
		id, err := t.find(name)
		if err != nil {
			return err
		}
		if group, err := t.isGroup(id); err != nil || group {
			if err == nil && level != "none" {
				err = fmt.Errorf("%w: nobody is told anything in a topic: all would read it", ErrState)
			}
			return err
		}
		if peer, err := t.isPeer(id); err != nil || peer && level != "none" {
			if err == nil {
				err = fmt.Errorf("%w: the contact's system has no receipts", ErrState)
			}
			return err
		}
		if pad, err := t.hasBarePad(id); err != nil || pad && level != "none" {
			if err == nil {
				err = fmt.Errorf("%w: a pad of version 1 carries texts only", ErrState)
			}
			return err
		}
		t.contactChanged(id)
		return t.exec("UPDATE contacts SET receipts = ? WHERE id = ?", level, id)
	})
}

// acknowledge commits that a message of the contact's is to be receipted, as far
// as the contact may know. Receipts go to the line that reaches the contact now,
// have no row in the timeline and are never receipted themselves.
func (t *tx) acknowledge(contact, seq int64, kind string) error {
	var level string
	if err := t.row("SELECT receipts FROM contacts WHERE id = ?", contact)(&level); err != nil {
		return err
	}
	if level == "none" || kind == "read" && level != "read" {
		return nil
	}
	lines, err := t.targets(contact)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if l.bare || l.shared {
			continue
		}
		// A read receipt says everything the other one would.
		if err := t.exec("DELETE FROM intents WHERE line = ? AND message = ? AND kind IN ('delivered', ?)", l.id, seq, kind); err != nil {
			return err
		}
		var number [16]byte
		rand.Read(number[:])
		if err := t.intend(l.id, seq, kind, number[:], parley.Receipt, nil, t.stampNow()); err != nil {
			return err
		}
	}
	return nil
}

// mergeReceipts makes one message of all receipts of a kind that a line has to
// send, up to a packet's worth.
func (t *tx) mergeReceipts(line int64, in *intent) error {
	r := content.Receipt{Kind: content.Delivered}
	if in.kind == "read" {
		r.Kind = content.Read
	}
	have := map[[16]byte]bool{}
	err := t.each(`SELECT i.id, tl.id, tl.hash FROM intents i JOIN timeline tl ON tl.seq = i.message
		WHERE i.line = ? AND i.kind = ? ORDER BY i.id LIMIT ?`, []any{line, in.kind, mostReceipts}, func(scan func(...any) error) error {
		var row int64
		var id, hash []byte
		if err := scan(&row, &id, &hash); err != nil {
			return err
		}
		var item content.ReceiptItem
		copy(item.ID[:], id)
		copy(item.SHA256[:], hash)
		if row != in.id {
			in.merged = append(in.merged, row)
		}
		if !have[item.ID] {
			have[item.ID] = true
			r.Items = append(r.Items, item)
		}
		return nil
	})
	if err != nil {
		return err
	}
	in.message = 0 // the receipt is not the message it is about
	in.msg.AMP, in.msg.Body, err = content.Encode(r)
	return err
}

// receipted takes a receipt in. Only what we sent in this very conversation, with
// these very words, moves on; and what the device has need not be sent again.
func (t *tx) receipted(l line, r content.Receipt) error {
	conv, err := t.conversation(l.contact)
	if err != nil {
		return err
	}
	to := AtDevice
	if r.Kind == content.Read {
		to = Read
	}
	for _, item := range r.Items {
		var seq int64
		err := t.row("SELECT seq FROM timeline WHERE conversation = ? AND author = 0 AND id = ? AND hash = ?", conv, item.ID[:], item.SHA256[:])(&seq)
		if isNone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := t.advance(seq, to); err != nil {
			return err
		}
		if err := t.exec("DELETE FROM packets WHERE line = ? AND message = ?", l.id, seq); err != nil {
			return err
		}
		if err := t.exec("DELETE FROM intents WHERE line = ? AND message = ? AND kind = 'message'", l.id, seq); err != nil {
			return err
		}
		t.poke(workSeal | workSend)
	}
	return nil
}
