package pebblestore

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of [Open]. The zero value is right for a relay; each zero field has
// the default that its comment gives.
type Options struct {
	// FS is where the files are: the operating system's. Tests put memory and
	// faults here.
	FS vfs.FS
	// MemTable is the size in bytes of a write buffer, of which there are up to
	// four: 8 MiB.
	MemTable int
	// Cache is the size in bytes of the block cache: 16 MiB.
	Cache int64
	// ActiveQueues is how many queues keep their cursor in memory, about 300
	// bytes each: 65,536. It is a bound on memory, not on queues; below 64, none
	// stays.
	ActiveQueues int
	// Reserve is how many bytes of the disk stay free: 64 MiB. Below it, Create,
	// Update and Append get ErrNoSpace; below a quarter of it, Ack, Sweep and
	// the deletion of queues too.
	Reserve uint64
	// ScrubEvery is how often what was deleted since is erased from the files: 5
	// minutes. Negative means only when Scrub is called.
	ScrubEvery time.Duration
	// Report is told what went wrong in the background: a failed engine, its
	// recovery, a scrub that must be repeated. It names files, never queues.
	// Nobody, if nil.
	Report func(error)
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MemTable <= 0 {
		o.MemTable = 8 << 20
	}
	if o.Cache <= 0 {
		o.Cache = 16 << 20
	}
	if o.ActiveQueues <= 0 {
		o.ActiveQueues = 64 << 10
	}
	if o.Reserve == 0 {
		o.Reserve = 64 << 20
	}
	if o.ScrubEvery == 0 {
		o.ScrubEvery = 5 * time.Minute
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	return o
}

// pebble returns the engine's options.
func (o Options) pebble(fs vfs.FS, cache *pebble.Cache, log pebble.Logger) *pebble.Options {
	p := &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		Cleaner:                     erase{},
		Logger:                      log,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(o.MemTable),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                256,
		MaxManifestFileSize:         1 << 20, // it holds IDs of queues at the edges of files
		BytesPerSync:                512 << 10,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	// Bodies and keys are ciphertext: compression finds nothing. Small files let
	// a scrub rewrite little more than it must.
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range p.TargetFileSizes {
		p.TargetFileSizes[i] = 4 << 20
	}
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		p.Levels[i].FilterType = pebble.TableFilter
	}
	return p
}

// erase removes files that the engine no longer needs. It also counts as a
// cleaner that wants a file's content, and for such a one the engine does not
// recycle its logs: acknowledged bodies would stay in them for as long as it
// pleases. (Clean is that of the shallower type.)
type erase struct {
	pebble.DeleteCleaner
	unrecycled
}

type unrecycled struct{ pebble.ArchiveCleaner }
