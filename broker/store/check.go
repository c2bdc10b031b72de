package store

import (
	"errors"
	"fmt"
)

// CheckQueue reports what makes a record unfit for Create. All stores use it, so
// that they refuse the same.
func CheckQueue(q Queue) error {
	if q.ID == (ID{}) {
		return errors.New("store: a queue needs an ID that is not zero")
	}
	if len(q.Props) == 0 {
		return errors.New("store: a queue needs Props")
	}
	for r, id := range q.Alias {
		if r == Recipient {
			return errors.New("store: the recipient's ID is the queue's own, not an alias")
		}
		if id == (ID{}) {
			return fmt.Errorf("store: the alias of role %d is zero", r)
		}
	}
	return CheckProps(q.Props)
}

// CheckProps reports Props that are too long.
func CheckProps(p []byte) error {
	if len(p) > MaxProps {
		return fmt.Errorf("store: Props of %d bytes, the limit is %d", len(p), MaxProps)
	}
	return nil
}

// CheckBody reports a body that is too long.
func CheckBody(b []byte) error {
	if len(b) > MaxBody {
		return fmt.Errorf("store: a body of %d bytes, the limit is %d", len(b), MaxBody)
	}
	return nil
}
