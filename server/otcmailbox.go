package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	otcserver "parley/carrier/relay/server"
)

// OTCMailbox changes a mailbox of One Time Chat's relay in a data folder that no process
// uses: "permit" lets one that is in use be claimed, once, "release" takes it from its
// owner, "delete" deletes it with what is in it. The errors are [ErrConfig], [ErrLocked],
// or trouble with the folder.
func OTCMailbox(data, action, uid string) error {
	if data == "" {
		return fmt.Errorf("%w: no data folder is given (--data DIR)", ErrConfig)
	}
	dir := filepath.Join(data, otcName)
	if _, err := os.Stat(dir); err != nil { // openData would make the folder
		return fmt.Errorf("%w: no relay of One Time Chat was ever served there: %w", ErrConfig, err)
	}
	lock, err := openData(data)
	if err != nil {
		return err
	}
	err = otcserver.Operate(dir, action, uid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, otcserver.ErrNoMailbox) || errors.Is(err, otcserver.ErrClaimed) {
		err = fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return errors.Join(err, lock.Close())
}
