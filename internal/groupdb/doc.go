// Package groupdb is an SQLite database for a server that answers many at once and
// may lose nothing it has answered for: one goroutine writes, and what waits to be
// written at the same time becomes one commit, so that its cost, a write to the disk
// that is waited for, is shared; four connections read meanwhile. Each write of such a
// group fails or succeeds alone.
//
// What is deleted is overwritten (secure_delete), and leaves the write-ahead log at the
// next checkpoint that no reader keeps from its work: [DB.CheckpointSoon] has one made.
//
// The files have mode 0600.
package groupdb
