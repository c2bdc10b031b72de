package server

// A subscription is what a session wants of a filter.
type subscription struct {
	filter      string
	id          uint32 // of MQTT 5, 0: none
	qos         byte
	handling    byte
	noLocal     bool
	asPublished bool
	unfed       bool // retained messages are still to be sent
}

// A node is a level of filters. The wildcards are levels like any other.
type node struct {
	kids map[string]*node
	subs map[*session]*subscription
}

// add puts a subscription in, in place of the session's old one.
func (n *node) add(filter string, s *session, sub *subscription) {
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = nextLevel(rest)
		kid := n.kids[level]
		if kid == nil {
			if n.kids == nil {
				n.kids = make(map[string]*node)
			}
			kid = new(node)
			n.kids[level] = kid
		}
		n = kid
	}
	if n.subs == nil {
		n.subs = make(map[*session]*subscription)
	}
	n.subs[s] = sub
}

// remove takes a session's subscription out, and levels that nobody needs.
func (n *node) remove(filter string, s *session) {
	level, rest, more := nextLevel(filter)
	kid := n.kids[level]
	if kid == nil {
		return
	}
	if more {
		kid.remove(rest, s)
	} else {
		delete(kid.subs, s)
	}
	if len(kid.kids) == 0 && len(kid.subs) == 0 {
		delete(n.kids, level)
	}
}

// match calls f for each subscription whose filter matches the topic.
func (n *node) match(topic string, f func(*session, *subscription)) {
	n.walk(topic, true, !isSystem(topic), f)
}

// walk matches what is left of a topic, if more is set; wild says whether
// wildcards count on this level.
func (n *node) walk(rest string, more, wild bool, f func(*session, *subscription)) {
	if wild {
		if hash := n.kids["#"]; hash != nil {
			hash.visit(f)
		}
	}
	if !more {
		n.visit(f)
		return
	}
	level, rest, more := nextLevel(rest)
	if kid := n.kids[level]; kid != nil {
		kid.walk(rest, more, true, f)
	}
	if wild {
		if plus := n.kids["+"]; plus != nil {
			plus.walk(rest, more, true, f)
		}
	}
}

func (n *node) visit(f func(*session, *subscription)) {
	for s, sub := range n.subs {
		f(s, sub)
	}
}
