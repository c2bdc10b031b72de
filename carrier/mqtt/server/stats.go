package server

// Stats counts what the broker holds and what has happened since it started. It
// tells nothing of anybody.
type Stats struct {
	Connections int // open now
	Sessions    int // connected and remembered
	Queued      int // QoS 1 and 2 messages that wait for, or at, a client
	Retained    int // topics with a retained message

	Published uint64 // messages taken
	Delivered uint64 // messages sent (QoS 0) or acknowledged (QoS 1 and 2)
	Dropped   uint64 // QoS 0 messages dropped for a full queue, and messages not retained
	Expired   uint64 // messages whose time was up before they were sent
	Refused   uint64 // messages refused because of a quota or a full disk
	Oversize  uint64 // messages larger than their subscriber takes
	Unwilled  uint64 // wills that somebody's full queue did not take
}

// Stats returns the current counts.
func (s *Server) Stats() Stats {
	c := &s.stats
	out := Stats{Published: c.published.Load(), Delivered: c.delivered.Load(), Dropped: c.dropped.Load(),
		Expired: c.expired.Load(), Refused: c.refused.Load(), Oversize: c.oversize.Load(), Unwilled: c.unwilled.Load()}
	s.mu.Lock()
	out.Connections = len(s.conns)
	s.mu.Unlock()
	if h := s.life(); h != nil {
		h.mu.Lock()
		out.Sessions, out.Queued, out.Retained = len(h.sessions), h.queued, h.retained.count
		h.mu.Unlock()
	}
	return out
}
