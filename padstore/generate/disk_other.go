//go:build !unix || solaris || illumos || aix || netbsd || openbsd

package generate

func diskFree(string) (int64, bool) { return 0, false }

func full(error) bool { return false }
