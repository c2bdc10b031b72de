package profile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// prepareDir makes dir, for its owner alone. One that is there must be empty,
// but for what an interrupted Create and a lock leave; it is then closed to others.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		switch n := e.Name(); {
		case n == lockName, n == dbName, strings.HasPrefix(n, newName), strings.HasPrefix(n, ".new-"):
		default:
			return fmt.Errorf("%s is not empty: it has %q; choose another directory for the profile", dir, n)
		}
	}
	if checkDir(dir) == nil {
		return nil
	}
	return os.Chmod(dir, 0o700)
}

func checkDir(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if perm := st.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s is open to others (mode %04o): run: chmod 700 %s", dir, perm, dir)
	}
	return nil
}

// removeDatabase removes a database that nobody has filled yet.
func removeDatabase(path string) error {
	for _, end := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
