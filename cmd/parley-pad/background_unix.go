//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// background lets a device that was started in the background of a shell go on: to read
// from the terminal fails then, where otherwise it would stop the process.
func background() { signal.Ignore(syscall.SIGTTIN) }
