package server

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options of [New]. Each zero field of Limits has the default that its comment
// gives.
type Options struct {
	// Dir is the folder of the broker's state, made if need be (mode 0700).
	Dir string
	// FS is where Dir is: the operating system's files. Tests put memory and
	// faults here.
	FS vfs.FS
	// Users says who may connect and do what. Without it, everybody may do
	// everything, and listeners that others than this machine could reach are
	// refused unless Anonymous is set.
	Users *Users
	// Anonymous lets everybody in on every listener, if Users is nil.
	Anonymous bool
	// MemTable and Cache are the sizes in bytes of the store's write buffers (up to
	// four): 8 MiB, and of its block cache: 16 MiB.
	MemTable int
	Cache    int64
	// Reserve is how many bytes of the disk stay free: 64 MiB. Below it nothing
	// that would have to be stored is accepted.
	Reserve uint64
	// Scrub is how often what was delivered is erased from the files: 5 minutes.
	Scrub time.Duration
	// Trouble is told of faults of the machine: what, and the error. It names no
	// client, user or topic. Nobody, if nil.
	Trouble func(what string, err error)

	Limits Limits
}

// Limits bounds what clients can make the broker hold.
type Limits struct {
	Connections        int           // open at once: 10,000
	ConnectionsPerHost int           // of one IPv4 address or IPv6 /64 network: three quarters of Connections, and at most that
	Connecting         int           // without an accepted CONNECT, at once: 512
	Packet             int           // bytes in a packet, also announced: 1 MiB
	Sessions           int           // connected and remembered ones: 100,000
	Subscriptions      int           // of one session: 1,000
	TopicBytes         int           // length of a topic or filter: 4,096
	TopicLevels        int           // levels in it: 64
	Inflight           int           // QoS 1 and 2 messages under way, each direction, each connection, also announced: 100
	Aliases            int           // topic aliases of one connection, also announced: 32; negative: none
	QueueMessages      int           // QoS 1 and 2 messages that wait for one session: 10,000, at most 65,000
	QueueBytes         int64         // bytes of them: 64 MiB
	Queued             int           // messages that wait for all sessions together: 1,000,000
	QoS0Messages       int           // QoS 0 messages that wait for one connection: 1,000
	QoS0Bytes          int           // bytes of them: 4 MiB
	RetainedMessages   int           // topics with a retained message: 100,000
	RetainedBytes      int64         // bytes of them: 64 MiB
	Memory             int64         // bytes of messages that are kept in memory: 64 MiB
	State              int64         // bytes of memory for sessions, subscriptions, wills and retained topics: 256 MiB
	SessionExpiry      time.Duration // how long a session outlives its connection: 7 days
	KeepAlive          time.Duration // longest silence of an MQTT 5 client, also announced: 1 hour
	Connect            time.Duration // from a connection's start to its CONNECT's end: 10 s
	PacketTime         time.Duration // from a packet's first byte to its last: 30 s
	Write              time.Duration // the client takes what is written within this time: 30 s
}

// mostQueued is what QueueMessages may be: each waiting message has a packet
// identifier of its own.
const mostQueued = 65_000

func or[T int | int64 | uint64 | time.Duration](v *T, standard T) {
	if *v <= 0 {
		*v = standard
	}
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Trouble == nil {
		o.Trouble = func(string, error) {}
	}
	or(&o.MemTable, 8<<20)
	or(&o.Cache, 16<<20)
	or(&o.Reserve, 64<<20)
	or(&o.Scrub, 5*time.Minute)
	l := &o.Limits
	or(&l.Connections, 10_000)
	share := max(1, l.Connections*3/4)
	or(&l.ConnectionsPerHost, share)
	l.ConnectionsPerHost = min(l.ConnectionsPerHost, share)
	or(&l.Connecting, 512)
	or(&l.Packet, 1<<20)
	l.Packet = min(l.Packet, maxRemaining)
	or(&l.Sessions, 100_000)
	or(&l.Subscriptions, 1000)
	or(&l.TopicBytes, 4096)
	or(&l.TopicLevels, 64)
	or(&l.Inflight, 100)
	l.Inflight = min(l.Inflight, 65_535)
	if l.Aliases == 0 {
		l.Aliases = 32
	}
	l.Aliases = min(max(l.Aliases, 0), 65_535)
	or(&l.QueueMessages, 10_000)
	l.QueueMessages = min(l.QueueMessages, mostQueued)
	or(&l.QueueBytes, 64<<20)
	or(&l.Queued, 1_000_000)
	or(&l.QoS0Messages, 1000)
	or(&l.QoS0Bytes, 4<<20)
	or(&l.RetainedMessages, 100_000)
	or(&l.RetainedBytes, 64<<20)
	or(&l.Memory, 64<<20)
	or(&l.State, 256<<20)
	or(&l.SessionExpiry, 7*24*time.Hour)
	or(&l.KeepAlive, time.Hour)
	l.KeepAlive = min(l.KeepAlive, 65_535*time.Second)
	or(&l.Connect, 10*time.Second)
	or(&l.PacketTime, 30*time.Second)
	or(&l.Write, 30*time.Second)
	return o
}

// DefaultLimits returns the limits that a zero Limits stands for.
func DefaultLimits() Limits { return Options{}.withDefaults().Limits }
