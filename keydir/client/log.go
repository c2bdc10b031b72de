package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// MaxWalk is how many entries of the log [Client.FollowAnswer] goes back for an
// answer's entry. One that is older is found by an audit only.
const MaxWalk = 20_000

// maxPage is how long a page of the log may be in bytes.
const maxPage = keydir.PageEntries * (keydir.MaxEntry + 2)

// Head returns the signed head of the directory's log. Errors are [ErrNoLog],
// [ErrUnreachable] and those of [keydir.ParseHead].
func (c *Client) Head(ctx context.Context) (keydir.Head, error) {
	key, err := c.Key(ctx)
	if err != nil {
		return keydir.Head{}, err
	}
	status, body, err := c.get(ctx, "/log/head", keydir.MaxBody)
	switch {
	case err != nil:
		return keydir.Head{}, err
	case status == http.StatusNotFound:
		return keydir.Head{}, ErrNoLog
	case status != http.StatusOK:
		return keydir.Head{}, unexpected(status)
	}
	return keydir.ParseHead(body, key, c.o.Now())
}

// Entries calls each with the lines of the log from entry from (1 is the first) to
// entry to. It asks for as many pages as that takes and keeps one line at a time. The
// lines are not verified. A log that ends earlier is [keydir.ErrLog].
func (c *Client) Entries(ctx context.Context, from, to int64, each func(line []byte) error) error {
	first := from
	for from <= to {
		n, err := c.page(ctx, from, to, each)
		if busy := (*busyError)(nil); errors.As(err, &busy) && from > first {
			// In the middle of a long log it is worth waiting for the rest.
			select {
			case <-ctx.Done():
				return unreachable(ctx, err)
			case <-time.After(busy.after):
				continue
			}
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: it says that it has %d entries and has no entry %d", keydir.ErrLog, to, from)
		}
		from += n
	}
	return nil
}

func (c *Client) page(ctx context.Context, from, to int64, each func([]byte) error) (n int64, err error) {
	resp, err := c.request(ctx, http.MethodGet, "/log?from="+strconv.FormatInt(from, 10), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return 0, ErrNoLog
	default:
		return 0, unexpected(resp.StatusCode)
	}
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxPage))
	lines.Buffer(make([]byte, 0, keydir.MaxEntry+2), keydir.MaxEntry+2)
	for from+n <= to && lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return n, err
		}
		n++
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return n, fmt.Errorf("%w: an entry is too long", keydir.ErrLog)
	case err != nil:
		return n, unreachable(ctx, err)
	}
	return n, nil
}

// Follow verifies that the log goes on where it was when its head was known, and
// returns its present head: to be known the next time. A log that is shorter than it
// was, has another hash at the same size, or a broken chain between, is
// [keydir.ErrLog]: the directory shows different people different histories, or
// rewrites it. So is a directory that had a log and has none any more.
// The zero Head knows nothing, and then the whole log is verified.
func (c *Client) Follow(ctx context.Context, known keydir.Head) (keydir.Head, error) {
	return c.follow(ctx, known, known, nil)
}

// follow verifies the chain that begins after start, which is the known head or, with
// no hash to compare, an earlier one. Each entry goes to see as well.
func (c *Client) follow(ctx context.Context, known, start keydir.Head, see func(e keydir.Entry, hash string) error) (keydir.Head, error) {
	head, err := c.headAfter(ctx, known)
	if err != nil {
		return head, err
	}
	return head, c.walk(ctx, head, known, start, see)
}

// headAfter returns the present head of a log that was at known.
func (c *Client) headAfter(ctx context.Context, known keydir.Head) (keydir.Head, error) {
	head, err := c.Head(ctx)
	if errors.Is(err, ErrNoLog) && known.Size > 0 {
		return head, fmt.Errorf("%w: it had %d entries and is gone", keydir.ErrLog, known.Size)
	}
	if err != nil {
		return head, err
	}
	return head, meets(head, known)
}

// walk verifies the entries between start and head.
func (c *Client) walk(ctx context.Context, head, known, start keydir.Head, see func(e keydir.Entry, hash string) error) error {
	// Without the hash before the first line, only the end of the chain vouches for
	// its beginning: the signed head.
	at, blind := start, start.Hash == "" && start.Size > 0
	err := c.Entries(ctx, start.Size+1, head.Size, func(line []byte) error {
		if blind {
			first, err := keydir.ParseEntry(line)
			if err != nil {
				return err
			}
			at.Hash, blind = first.Prev, false
		}
		next, e, err := at.Extend(line)
		if err != nil {
			return err
		}
		at = next
		if err := meets(at, known); at.Size == known.Size && err != nil {
			return err
		}
		if see != nil {
			return see(e, at.Hash)
		}
		return nil
	})
	if errors.Is(err, ErrNoLog) {
		err = fmt.Errorf("%w: it has a head and no entries", keydir.ErrLog)
	}
	if err == nil && at.Size == head.Size && at.Size > 0 && at.Hash != head.Hash {
		err = fmt.Errorf("%w: its entries do not lead to its head", keydir.ErrLog)
	}
	return err
}

// meets sees that a log which has got to head may have been at known before.
func meets(head, known keydir.Head) error {
	switch {
	case head.Size < known.Size:
		return fmt.Errorf("%w: it has %d entries and had %d", keydir.ErrLog, head.Size, known.Size)
	case head.Size == known.Size && known.Size > 0 && head.Hash != known.Hash:
		return fmt.Errorf("%w: entry %d is another than it was", keydir.ErrLog, known.Size)
	}
	return nil
}

// FollowAnswer is [Client.Follow], and sees that an answer's entry stands in the log
// and is the last one of that name: that the directory shows everybody the keys that
// it shows us. An answer without a name has no entry, and is [ErrUnbound]. Of a log
// that is not known yet, only what follows the answer's entry is looked at:
// [Client.Audit] verifies all of it.
func (c *Client) FollowAnswer(ctx context.Context, known keydir.Head, a keydir.Answer, k keydir.Keys) (keydir.Head, error) {
	if !a.Bound() {
		return keydir.Head{}, ErrUnbound
	}
	head, err := c.headAfter(ctx, known)
	switch {
	case err != nil:
		return head, err
	case a.LogSeq > head.Size:
		return head, fmt.Errorf("%w: the answer names entry %d, and it has %d", keydir.ErrLog, a.LogSeq, head.Size)
	}
	start, looking := known, true
	switch {
	case head.Size-a.LogSeq >= MaxWalk: // the part that is new, if there is an old one
		looking = false
		if known.Size == 0 {
			return head, nil
		}
	case a.LogSeq <= known.Size || known.Size == 0:
		start = keydir.Head{Size: a.LogSeq - 1}
	}
	name := keydir.NameHash(a.Username)
	return head, c.walk(ctx, head, known, start, func(e keydir.Entry, hash string) error {
		switch {
		case looking && e.Seq == a.LogSeq:
			return agrees(e, hash, a, k)
		case e.Name == name && e.Seq > a.LogSeq:
			return fmt.Errorf("%w: entry %d has changed this user's keys since", keydir.ErrLog, e.Seq)
		}
		return nil
	})
}

// agrees sees that an entry says what an answer says.
func agrees(e keydir.Entry, hash string, a keydir.Answer, k keydir.Keys) error {
	if e.Name != keydir.NameHash(a.Username) || e.Version != a.Version || hash != a.LogHash || e.Action == keydir.Removed ||
		e.MessageKey != rsakey.Of(k.Message).Hex() || e.SignKey != rsakey.Of(k.Sign).Hex() {
		return fmt.Errorf("%w: entry %d does not say what the answer says", keydir.ErrLog, e.Seq)
	}
	return nil
}
