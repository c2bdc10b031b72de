package frontlimit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"parley/internal/lru"
)

// networks is how many client networks are told apart; who was seen last counts.
const networks = 16384

// A Rate is a token bucket for each client network. It may be used by several
// goroutines.
type Rate struct {
	mu        sync.Mutex
	perSecond rate.Limit
	burst     int
	buckets   *lru.Map[netip.Prefix, *rate.Limiter]
}

// NewRate lets each network ask so often in a second, and burst times at once.
func NewRate(perSecond float64, burst int) *Rate {
	return &Rate{perSecond: rate.Limit(perSecond), burst: burst, buckets: lru.New[netip.Prefix, *rate.Limiter](networks)}
}

// Allow takes a token of a network, or says how long there will be none.
func (l *Rate) Allow(network netip.Prefix, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets.Get(network)
	if !known {
		b = rate.NewLimiter(l.perSecond, l.burst)
		l.buckets.Put(network, b)
	}
	if b.AllowN(now, 1) {
		return 0, true
	}
	r := b.ReserveN(now, 1)
	wait = r.DelayFrom(now)
	r.CancelAt(now)
	return wait, false
}
