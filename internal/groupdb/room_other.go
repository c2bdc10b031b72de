//go:build !unix || solaris || illumos || aix || netbsd || openbsd

package groupdb

// fullDisk does not know: here, a full disk is what SQLite calls one.
func fullDisk(string) bool { return false }
