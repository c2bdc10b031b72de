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
}

// retainedHead is how long the number and the QoS before a retained body are.
const retainedHead = 9

type retainedNode struct {
	kids map[string]*retainedNode
	item *retainedItem
}

type retainedTree struct {
	root  retainedNode
	count int
	bytes int64
}

func (t *retainedTree) get(topic string) *retainedItem {
	n := &t.root
	for rest, more := topic, true; more; {
		var level string
		level, rest, more = nextLevel(rest)
		if n = n.kids[level]; n == nil {
			return nil
		}
	}
	return n.item
}

func (t *retainedTree) put(item *retainedItem) {
	n := &t.root
	for rest, more := item.topic, true; more; {
		var level string
		level, rest, more = nextLevel(rest)
		kid := n.kids[level]
		if kid == nil {
			if n.kids == nil {
				n.kids = make(map[string]*retainedNode)
			}
			kid = new(retainedNode)
			n.kids[level] = kid
		}
		n = kid
	}
	if n.item != nil {
		t.count--
		t.bytes -= int64(n.item.size)
	}
	n.item = item
	t.count++
	t.bytes += int64(item.size)
}

func (t *retainedTree) remove(topic string) { t.drop(&t.root, topic) }

func (t *retainedTree) drop(n *retainedNode, rest string) {
	level, rest, more := nextLevel(rest)
	kid := n.kids[level]
	if kid == nil {
		return
	}
	if more {
		t.drop(kid, rest)
	} else if kid.item != nil {
		t.count--
		t.bytes -= int64(kid.item.size)
		kid.item = nil
	}
	if len(kid.kids) == 0 && kid.item == nil {
		delete(n.kids, level)
	}
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
	t.root.match(filter, true, true, &out)
	return out
}

func (n *retainedNode) match(rest string, more, first bool, out *[]string) {
	if !more {
		if n.item != nil {
			*out = append(*out, n.item.topic)
		}
		return
	}
	level, rest, more := nextLevel(rest)
	switch level {
	case "#":
		n.all(first, out)
	case "+":
		for name, kid := range n.kids {
			if !first || !isSystem(name) {
				kid.match(rest, more, false, out)
			}
		}
	default:
		if kid := n.kids[level]; kid != nil {
			kid.match(rest, more, false, out)
		}
	}
}

func (n *retainedNode) all(first bool, out *[]string) {
	if n.item != nil {
		*out = append(*out, n.item.topic)
	}
	for name, kid := range n.kids {
		if !first || !isSystem(name) {
			kid.all(false, out)
		}
	}
}

// retain keeps a message as its topic's last, or with an empty payload none.
func (h *hub) retain(b *body, num uint64, qos byte) {
	old := h.retained.get(b.topic)
	if old != nil {
		h.unset(old.alarm)
	}
	if len(b.payload) == 0 {
		h.unretain(b.topic)
		return
	}
	item := &retainedItem{topic: b.topic, num: num, size: b.size(), qos: qos, expires: b.expires}
	h.watchRetained(item)
	h.retained.put(item)
	if old != nil {
		h.dirt.retained = true
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, retainedHead+item.size), num)
	_ = h.batch().Set(textKey(kRetained, b.topic), b.pack(append(v, qos)), nil)
}

func (h *hub) watchRetained(item *retainedItem) {
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
	h.retained.remove(topic)
	h.dirt.retained = true
	_ = h.batch().Delete(textKey(kRetained, topic), nil)
}

// mayRetain reports whether there is room for a message as its topic's last.
func (h *hub) mayRetain(b *body) bool {
	if len(b.payload) == 0 {
		return true
	}
	count, bytes := h.retained.count+1, h.retained.bytes+int64(b.size())
	if old := h.retained.get(b.topic); old != nil {
		count, bytes = count-1, bytes-int64(old.size)
	}
	return count <= h.o.Limits.RetainedMessages && bytes <= h.o.Limits.RetainedBytes
}
