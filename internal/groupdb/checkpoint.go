package groupdb

import (
	"context"
	"errors"
	"time"
)

// When [DB.RunCheckpoints] makes checkpoints.
const (
	CheckpointEvery = 10 * time.Second // once in this time, at most
	CheckpointAgain = time.Second      // and again after this when somebody was reading
)

// Checkpoint moves the write-ahead log into the database and empties it, so that what
// was deleted is in neither. It does what it can while others read; whole says that
// this was all. After Close, which does the same, it is whole.
func (db *DB) Checkpoint() (whole bool, err error) {
	w := &write{checkpoint: true, done: make(chan struct{})}
	err = db.enqueue(w)
	if errors.Is(err, ErrClosed) {
		return true, nil
	}
	return w.whole, err
}

// CheckpointSoon has what was deleted go from the write-ahead log, too, while
// [DB.RunCheckpoints] runs. It waits for nothing.
func (db *DB) CheckpointSoon() {
	select {
	case db.deleted <- struct{}{}:
	default:
	}
}

// RunCheckpoints empties the write-ahead log after [DB.CheckpointSoon], until ctx ends:
// at once, and not again for a while. Faults are told and tried again.
func (db *DB) RunCheckpoints(ctx context.Context, fault func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-db.deleted:
		}
		whole, err := db.Checkpoint()
		if err != nil {
			fault(err)
		}
		pause := CheckpointEvery
		if err == nil && !whole { // somebody was reading
			pause = CheckpointAgain
		}
		if err != nil || !whole {
			db.CheckpointSoon()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// SweepHourly calls sweep, which deletes what has expired, now and every hour until ctx
// ends, each with a checkpoint soon after. Faults are told.
func (db *DB) SweepHourly(ctx context.Context, sweep func() error, fault func(error)) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := sweep(); err != nil {
			fault(err)
		}
		db.CheckpointSoon()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
