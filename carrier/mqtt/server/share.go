package server

// An account is what one user makes the broker hold. All who have no name share
// one.
type account struct {
	user     string
	sessions int
	queued   int   // entries of its sessions, by weight
	stored   int64 // bytes of those that are on the disk
	pinned   int64 // bytes of messages that only memory has for its sessions
	retained int   // topics that retain a message of its own
	kept     int64 // bytes of these
	state    int64 // bytes of memory for sessions, subscriptions, wills and retained messages
}

// account returns a user's account.
func (h *hub) account(user string) *account {
	a := h.accounts[user]
	if a == nil {
		a = &account{user: user}
		h.accounts[user] = a
	}
	return a
}

// fits reports whether a user who has mine of something may have n more: all have
// total of at most most. If there are several users, nobody takes the last half of
// what is left: so however many of them take what they can, some is left for the
// next one.
func (h *hub) fits(mine, n, total, most int64) bool {
	left := most - total - n
	return left >= 0 && (n <= 0 || mine == 0 || mine+n <= left || !h.o.Users.several())
}

func (h *hub) fitsQueued(a *account, n int) bool {
	return h.fits(int64(a.queued), int64(n), int64(h.weighed), int64(h.o.Limits.Queued))
}

func (h *hub) fitsMemory(a *account, m *message) bool {
	total := h.pinned
	if m.pins > 0 {
		total -= int64(m.size) // somebody keeps it already
	}
	return h.fits(a.pinned, int64(m.size), total, h.o.Limits.Memory)
}

// fitsDisk reports whether a message may wait on the disk for a user's session.
// That the disk has room is known.
func (h *hub) fitsDisk(a *account, n int) bool {
	return !h.o.Users.several() || a.stored == 0 || a.stored+2*int64(n) <= h.disk.space.left()
}

// fitsFed reports whether a retained message may wait for a session.
func (h *hub) fitsFed(s *session, n int) bool {
	if !h.fitsQueued(s.account, 1) {
		return false
	}
	if s.persistent() {
		return h.disk.space.room(n) && h.fitsDisk(s.account, n)
	}
	return h.fitsMemory(s.account, &message{size: n})
}

func (h *hub) fitsRetained(a *account, n int, bytes int64) bool {
	l, t := &h.o.Limits, &h.retained
	return h.fits(int64(a.retained), int64(n), int64(t.count), int64(l.RetainedMessages)) && h.fits(a.kept, bytes, t.bytes, l.RetainedBytes)
}

func (h *hub) fitsSession(a *account) bool {
	return h.fits(int64(a.sessions), 1, int64(len(h.sessions)), int64(h.o.Limits.Sessions))
}

func (h *hub) fitsState(a *account, n int64) bool {
	return h.fits(a.state, n, h.state, h.o.Limits.State)
}

// charge counts memory that a user needs for what lasts; n may be negative.
func (h *hub) charge(a *account, n int64) {
	a.state += n
	h.state += n
}

// What things need in memory, about; with what the runtime adds.
const (
	sessionCost = 1 << 10
	subCost     = 512 // besides its levels
	itemCost    = 256 // of a retained message, besides its levels
	levelCost   = 112
	willCost    = 256
	holdCost    = 64 // of a QoS 2 message that is not released
	feedCost    = 16 // of a retained message that is to be fetched
)

// pathCost is what a topic or filter needs in a tree.
func pathCost(s string) int64 { return int64(2*len(s)) + int64(levels(s))*levelCost }

func costOfSub(filter string) int64 { return subCost + pathCost(filter) }

func (w *will) cost() int64 { return willCost + int64(w.body.size()) }
