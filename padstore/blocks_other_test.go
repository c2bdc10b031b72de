//go:build !linux

package padstore

import "testing"

func blocks(*testing.T, string) int64 { return -1 }
