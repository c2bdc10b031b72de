package server

import "strings"

// levelsOf is a tree of topics or filters: one node for each level. Most nodes have
// one level below, which needs no map.
type levelsOf[T any] struct {
	name string
	kid  *levelsOf[T] // the only one, if kids is nil
	kids map[string]*levelsOf[T]
	at   T
}

// down returns the node of a level below, or nil.
func (n *levelsOf[T]) down(name string) *levelsOf[T] {
	if n.kids != nil {
		return n.kids[name]
	}
	if n.kid != nil && n.kid.name == name {
		return n.kid
	}
	return nil
}

// grow returns the node of a topic or filter, made if need be.
func (n *levelsOf[T]) grow(path string) *levelsOf[T] {
	for rest, more := path, true; more; {
		var name string
		name, rest, more = nextLevel(rest)
		kid := n.down(name)
		if kid == nil {
			// A copy: the node may outlive the packet that the name came in.
			kid = &levelsOf[T]{name: strings.Clone(name)}
			switch {
			case n.kids != nil:
				n.kids[kid.name] = kid
			case n.kid != nil:
				n.kids = map[string]*levelsOf[T]{n.kid.name: n.kid, kid.name: kid}
				n.kid = nil
			default:
				n.kid = kid
			}
		}
		n = kid
	}
	return n
}

// find returns the node of a topic or filter, or nil.
func (n *levelsOf[T]) find(path string) *levelsOf[T] {
	for rest, more := path, true; more && n != nil; {
		var name string
		name, rest, more = nextLevel(rest)
		n = n.down(name)
	}
	return n
}

// trim calls drop for the node of a path, and takes out the levels of the path that
// nobody needs then.
func (n *levelsOf[T]) trim(path string, drop func(*levelsOf[T]), empty func(*T) bool) {
	name, rest, more := nextLevel(path)
	kid := n.down(name)
	if kid == nil {
		return
	}
	if more {
		kid.trim(rest, drop, empty)
	} else {
		drop(kid)
	}
	if kid.kid != nil || len(kid.kids) > 0 || !empty(&kid.at) {
		return
	}
	if n.kids == nil {
		n.kid = nil
		return
	}
	if delete(n.kids, name); len(n.kids) == 0 {
		n.kids = nil
	}
}

// each calls f for all levels below.
func (n *levelsOf[T]) each(f func(*levelsOf[T])) {
	if n.kid != nil {
		f(n.kid)
	}
	for _, kid := range n.kids {
		f(kid)
	}
}
