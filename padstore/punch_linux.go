package padstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// punch gives back the whole blocks in a range; the last one of a file is whole.
func punch(f *os.File, at, n int64) error {
	start, end := (at+blockSize-1)/blockSize*blockSize, (at+n)/blockSize*blockSize
	if st, err := f.Stat(); err == nil && at+n >= st.Size() {
		end = (at + n + blockSize - 1) / blockSize * blockSize
	}
	if start >= end {
		return nil
	}
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, start, end-start)
	return nil
}

func seekHole(f *os.File, at int64) (int64, bool) { return seek(f, at, unix.SEEK_HOLE) }
func seekData(f *os.File, at int64) (int64, bool) { return seek(f, at, unix.SEEK_DATA) }

// seek moves the file's own offset, which nobody uses.
func seek(f *os.File, at int64, whence int) (int64, bool) {
	next, err := unix.Seek(int(f.Fd()), at, whence)
	if errors.Is(err, unix.ENXIO) { // nothing of the kind behind at
		st, err := f.Stat()
		if err != nil {
			return 0, false
		}
		return st.Size(), true
	}
	return next, err == nil
}
