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

	"parley/keydir"
)

// maxPage is how long a page of the log may be in bytes.
const maxPage = keydir.PageEntries * (keydir.MaxEntry + 2)

// maxBusy is how long a log is waited for, in all, whose directory has had too many
// requests from here.
const maxBusy = 2 * time.Minute

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
// lines are not verified. A page that is not full although there is more is
// [keydir.ErrLog]: so is a log that ends earlier, and one that comes in drips. A
// directory that has had too many requests is waited for, for up to 2 min.
func (c *Client) Entries(ctx context.Context, from, to int64, each func(line []byte) error) error {
	var waited time.Duration
	for from <= to {
		n, err := c.page(ctx, from, to, each)
		if busy := (*busyError)(nil); errors.As(err, &busy) && waited+busy.after <= maxBusy {
			waited += busy.after
			if err := pause(ctx, busy.after); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if full := min(keydir.PageEntries, to-from+1); n < full {
			return fmt.Errorf("%w: it says that it has %d entries, and of %d from entry %d on it shows %d", keydir.ErrLog, to, full, from, n)
		}
		from += n
	}
	return nil
}

// pause waits; the error says that the caller did not want to.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return unreachable(ctx, ctx.Err())
	}
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
	if err = noEntries(err); err == nil && at.Size == head.Size && at.Size > 0 && at.Hash != head.Hash {
		err = fmt.Errorf("%w: its entries do not lead to its head", keydir.ErrLog)
	}
	return err
}

// noEntries says of a log whose head was there that its entries must be.
func noEntries(err error) error {
	if errors.Is(err, ErrNoLog) {
		return fmt.Errorf("%w: it has a head and no entries", keydir.ErrLog)
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
