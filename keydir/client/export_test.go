package client

// Known returns how many users a cache knows.
func Known(m *Cache) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known)
}
