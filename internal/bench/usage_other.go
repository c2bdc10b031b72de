//go:build !linux

package bench

import (
	"errors"
	"os"
	"time"
)

type usage struct {
	CPU time.Duration
	RSS int64
}

var errNoUsage = errors.New("CPU time and memory of a process are read from /proc, which is there on Linux only")

func ownUsage() (usage, error)                          { return usage{}, errNoUsage }
func usageOf(pid int) (usage, error)                    { return usage{}, errNoUsage }
func machineTime() (busy, all time.Duration, err error) { return 0, 0, errNoUsage }
func datasync(f *os.File) error                         { return f.Sync() }
