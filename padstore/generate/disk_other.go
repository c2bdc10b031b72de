//go:build !unix || solaris || illumos || aix || netbsd || openbsd

package generate

import "io/fs"

func diskFree(string) (int64, bool) { return 0, false }

func sameDevice(fs.FileInfo, fs.FileInfo) bool { return false }

func full(error) bool { return false }
