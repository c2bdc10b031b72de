package client

import "time"

// AtOnce lets nobody wait before a contradiction is looked at again.
func AtOnce(o *Options) { o.again = time.Nanosecond }

// Rounds is how often a contradiction is looked at.
const Rounds = rounds

// Known returns how many users a cache knows.
func Known(m *Cache) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known)
}
