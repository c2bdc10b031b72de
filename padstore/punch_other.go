//go:build !linux

package padstore

import "os"

func punch(*os.File, int64, int64) error { return nil }
