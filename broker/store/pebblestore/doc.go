// Package pebblestore is the embedded durable store of the broker: one folder,
// one process, no service beside it.
//
// Every answer waits for an fsync that all callers of the moment share. Memory
// holds a write buffer, a small cache and the cursors of the queues in use; an
// idle queue costs nothing but its place on disk. What has been acknowledged,
// swept or deleted leaves the disk within [Options.ScrubEvery] and the time the
// rewriting takes. A full disk is refused before it is reached, and an engine
// that breaks down is replaced by a fresh one over the same files, as after a
// crash. docs/broker-store.md has the format and the limits.
package pebblestore
