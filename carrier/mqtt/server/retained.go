package server

import (
	"encoding/binary"
	"strings"
)

// A retainedItem says which message a topic retains. The message itself is on
// the disk.
type retainedItem struct {
	topic   string
	num     uint64
	size    int
	qos     byte
	expires int64
	alarm   *alarm
	account *account // of who published it
}

func (i *retainedItem) cost() int64 { return itemCost + pathCost(i.topic) }

// retainedHead is how long the number and the QoS before a retained body are.
const retainedHead = 9

type retainedNode = levelsOf[*retainedItem]

type retainedTree struct {
	root  retainedNode
	count int
	bytes int64
}

func (t *retainedTree) get(topic string) *retainedItem {
	if n := t.root.find(topic); n != nil {
		return n.at
	}
	return nil
}

func (t *retainedTree) put(item *retainedItem) {
	n := t.root.grow(item.topic)
	if n.at != nil {
		t.count--
		t.bytes -= int64(n.at.size)
	}
	n.at = item
	t.count++
	t.bytes += int64(item.size)
}

func (t *retainedTree) remove(topic string) {
	t.root.trim(topic, func(n *retainedNode) {
		if n.at != nil {
			t.count--
			t.bytes -= int64(n.at.size)
			n.at = nil
		}
	}, func(at **retainedItem) bool { return *at == nil })
}

// match returns the topics that a filter matches.
func (t *retainedTree) match(filter string) []string {
	if !strings.ContainsAny(filter, "+#") {
		if t.get(filter) == nil {
			return nil
		}
		return []string{filter}
	}
	var out []string
	matchRetained(&t.root, filter, true, true, &out)
	return out
}

func matchRetained(n *retainedNode, rest string, more, first bool, out *[]string) {
	if !more {
		if n.at != nil {
			*out = append(*out, n.at.topic)
		}
		return
	}
	level, rest, more := nextLevel(rest)
	switch level {
	case "#":
		allRetained(n, first, out)
	case "+":
		n.each(func(kid *retainedNode) {
			if !first || !isSystem(kid.name) {
				matchRetained(kid, rest, more, false, out)
			}
		})
	default:
		if kid := n.down(level); kid != nil {
			matchRetained(kid, rest, more, false, out)
		}
	}
}

func allRetained(n *retainedNode, first bool, out *[]string) {
	if n.at != nil {
		*out = append(*out, n.at.topic)
	}
	n.each(func(kid *retainedNode) {
		if !first || !isSystem(kid.name) {
			allRetained(kid, false, out)
		}
	})
}

// retain keeps a message as its topic's last, or with an empty payload none.
func (h *hub) retain(b *body, num uint64, qos byte, by *account) {
	if len(b.payload) == 0 {
		h.unretain(b.topic)
		return
	}
	old := h.retained.get(b.topic)
	if old != nil {
		h.unset(old.alarm)
		h.chargeRetained(old, -1)
	}
	item := &retainedItem{topic: b.topic, num: num, size: b.size(), qos: qos, expires: b.expires, account: by}
	h.keepRetained(item)
	if old != nil {
		h.dirt.retained = true
	}
	switch {
	case old != nil && old.account == by:
	case by.user != "":
		_ = h.batch().Set(textKey(kRetainer, b.topic), []byte(by.user), nil)
	default:
		_ = h.batch().Delete(textKey(kRetainer, b.topic), nil)
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, retainedHead+item.size), num)
	_ = h.batch().Set(textKey(kRetained, b.topic), b.pack(append(v, qos)), nil)
}

// chargeRetained counts an item for its account: sign is 1, or -1 when it goes.
func (h *hub) chargeRetained(item *retainedItem, sign int) {
	item.account.retained += sign
	item.account.kept += int64(sign * item.size)
	h.charge(item.account, int64(sign)*item.cost())
}

func (h *hub) keepRetained(item *retainedItem) {
	h.chargeRetained(item, 1)
	h.retained.put(item)
	if item.expires != 0 {
		item.alarm = h.set(item.expires, func() { h.unretain(item.topic) })
	}
}

func (h *hub) unretain(topic string) {
	item := h.retained.get(topic)
	if item == nil {
		return
	}
	h.unset(item.alarm)
	h.chargeRetained(item, -1)
	h.retained.remove(topic)
	h.dirt.retained = true
	_ = h.batch().Delete(textKey(kRetained, topic), nil)
	_ = h.batch().Delete(textKey(kRetainer, topic), nil)
}

// mayRetain reports whether there is room for a message as its topic's last.
func (h *hub) mayRetain(b *body, by *account) bool {
	if len(b.payload) == 0 {
		return true
	}
	n, bytes, cost := 1, int64(b.size()), itemCost+pathCost(b.topic)
	if old := h.retained.get(b.topic); old != nil {
		n, bytes, cost = 0, bytes-int64(old.size), 0
	}
	return h.fitsState(by, cost) && h.fitsRetained(by, n, bytes)
}
