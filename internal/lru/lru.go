// Package lru is a map of bounded size that forgets what was not used for longest.
package lru

import "container/list"

// A Map is such a map. Its user locks it.
type Map[K comparable, V any] struct {
	most  int
	order *list.List // of *entry, the last used first
	byKey map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// New makes a map of at most so many entries, 1 or more.
func New[K comparable, V any](most int) *Map[K, V] {
	return &Map[K, V]{most: most, order: list.New(), byKey: map[K]*list.Element{}}
}

// Get returns the value of a key, which counts as used.
func (m *Map[K, V]) Get(key K) (v V, ok bool) {
	e, ok := m.byKey[key]
	if !ok {
		return v, false
	}
	m.order.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// Put sets the value of a key, which counts as used.
func (m *Map[K, V]) Put(key K, value V) {
	if e, ok := m.byKey[key]; ok {
		e.Value.(*entry[K, V]).value = value
		m.order.MoveToFront(e)
		return
	}
	m.byKey[key] = m.order.PushFront(&entry[K, V]{key, value})
	if m.order.Len() > m.most {
		m.Remove(m.order.Back().Value.(*entry[K, V]).key)
	}
}

// Remove forgets a key.
func (m *Map[K, V]) Remove(key K) {
	if e, ok := m.byKey[key]; ok {
		m.order.Remove(e)
		delete(m.byKey, key)
	}
}

// Len returns how many entries there are.
func (m *Map[K, V]) Len() int { return m.order.Len() }
