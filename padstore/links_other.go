//go:build !unix

package padstore

import "io/fs"

func links(fs.FileInfo) int { return 1 }
