//go:build race

package smpserver

// The race detector's own work differs from path to path.
func init() { raceEnabled = true }
