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

// A subTree holds the subscriptions of all, by filter. The wildcards are levels like
// any other.
type subTree struct{ root subNode }

type subNode = levelsOf[map[*session]*subscription]

// add puts a subscription in, in place of the session's old one.
func (t *subTree) add(filter string, s *session, sub *subscription) {
	leaf := t.root.grow(filter)
	if leaf.at == nil {
		leaf.at = make(map[*session]*subscription, 1)
	}
	leaf.at[s] = sub
}

// remove takes a session's subscription out, and levels that nobody needs.
func (t *subTree) remove(filter string, s *session) {
	t.root.trim(filter,
		func(leaf *subNode) { delete(leaf.at, s) },
		func(at *map[*session]*subscription) bool { return len(*at) == 0 })
}

// match calls f for each subscription whose filter matches the topic.
func (t *subTree) match(topic string, f func(*session, *subscription)) {
	walk(&t.root, topic, true, !isSystem(topic), f)
}

// walk matches what is left of a topic, if more is set; wild says whether
// wildcards count on this level.
func walk(n *subNode, rest string, more, wild bool, f func(*session, *subscription)) {
	if wild {
		if hash := n.down("#"); hash != nil {
			visit(hash, f)
		}
	}
	if !more {
		visit(n, f)
		return
	}
	level, rest, more := nextLevel(rest)
	if kid := n.down(level); kid != nil {
		walk(kid, rest, more, true, f)
	}
	if wild {
		if plus := n.down("+"); plus != nil {
			walk(plus, rest, more, true, f)
		}
	}
}

func visit(n *subNode, f func(*session, *subscription)) {
	for s, sub := range n.at {
		f(s, sub)
	}
}
