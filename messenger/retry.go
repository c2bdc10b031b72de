package messenger

import (
	"context"
	"errors"
	"time"

	"parley"
)

// After a negative answer a packet is sent again twice at once, then after 10,
// 15, 20, 30, 30 … seconds, as PhoneX's message queue does, give or take 15 %.
// It never gives up by itself.
var pauses = []time.Duration{0, 0, 10 * time.Second, 15 * time.Second, 20 * time.Second, 30 * time.Second}

// pause returns how long to wait after the given number of tries; jitter is from
// 0 up to 1.
func pause(tries int, jitter float64) time.Duration {
	d := pauses[min(max(tries, 1), len(pauses))-1]
	return time.Duration(float64(d) * (0.85 + 0.3*jitter))
}

// offlinePause grows from half a second to a minute while a relay cannot be
// reached.
func offlinePause(n int, jitter float64) time.Duration {
	d := min(time.Second<<min(max(n-1, 0), 6), time.Minute)
	return time.Duration(float64(d) * (0.5 + 0.5*jitter))
}

// An outcome sorts a carrier's errors by what to do.
type outcome int

const (
	done    outcome = iota
	offline         // no try: wait for the relay
	later           // a try: wait and repeat
	never           // cannot succeed
	stopped         // we end, nothing is known
)

func sort(ctx context.Context, err error) outcome {
	switch {
	case err == nil:
		return done
	case ctx.Err() != nil:
		return stopped
	case errors.Is(err, parley.ErrOffline), errors.Is(err, context.DeadlineExceeded):
		return offline
	case errors.Is(err, parley.ErrRefused):
		return never
	default:
		return later
	}
}

// why puts a carrier's error into words for the user.
func why(err error) string {
	switch {
	case errors.Is(err, parley.ErrOffline):
		return "the relay cannot be reached"
	case errors.Is(err, parley.ErrFull):
		return "the peer's mailbox is full for now"
	case errors.Is(err, parley.ErrDenied):
		return "the relay does not let us in: the peer has not opened the mailbox to us yet, or it is gone"
	case errors.Is(err, parley.ErrNoKey):
		return waitingForKeys
	}
	return err.Error()
}
