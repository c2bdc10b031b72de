package server

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"parley/internal/rsakey"
	"parley/keydir"
)

// appendLog writes the next entry of the log, in the transaction that does what it
// says.
func (c *conn) appendLog(action, name string, version int64, k keydir.Keys, now time.Time) (keydir.Head, error) {
	head, err := c.head()
	if err != nil {
		return keydir.Head{}, err
	}
	e := keydir.Entry{Seq: head.Size + 1, Time: now.UnixMilli(), Action: action, Name: keydir.NameHash(name), Version: version, Prev: head.Hash}
	if action != keydir.Removed {
		e.MessageKey, e.SignKey = rsakey.Of(k.Message).Hex(), rsakey.Of(k.Sign).Hex()
	}
	line := e.Line()
	head, _, err = head.Extend(line)
	if err != nil {
		return keydir.Head{}, err
	}
	return head, c.Exec("INSERT INTO log (seq, name, version, line) VALUES (?, ?, ?, ?)", e.Seq, e.Name, version, string(line))
}

// head returns how far the log has got; its Time is that of the last entry.
func (c *conn) head() (keydir.Head, error) {
	h := keydir.Head{Hash: keydir.NoHash}
	err := c.Each("SELECT seq, line FROM log ORDER BY seq DESC LIMIT 1", func(s *sqlite3.Stmt) error {
		h.Size, h.Hash = s.ColumnInt64(0), keydir.Hash(s.ColumnRawText(1))
		return nil
	})
	return h, err
}

// checkedEntries is how many of the last entries a start looks at.
const checkedEntries = 1000

// checkLog sees that the last entries follow one another, before more are written
// after them: clients would see a break for ever. The error is [keydir.ErrLog].
func (c *conn) checkLog() error {
	var head keydir.Head
	err := c.Each("SELECT seq, name, version, line FROM (SELECT * FROM log ORDER BY seq DESC LIMIT ?) ORDER BY seq", func(s *sqlite3.Stmt) error {
		line := []byte(s.ColumnText(3))
		first, err := keydir.ParseEntry(line)
		if err == nil && head == (keydir.Head{}) && first.Seq > 1 {
			head = keydir.Head{Size: first.Seq - 1, Hash: first.Prev}
		}
		if err == nil {
			head, _, err = head.Extend(line)
		}
		if err == nil && (s.ColumnInt64(0) != first.Seq || s.ColumnText(1) != first.Name || s.ColumnInt64(2) != first.Version) {
			err = fmt.Errorf("%w: it is not the entry that its row says", keydir.ErrLog)
		}
		if err != nil {
			return fmt.Errorf("entry %d of the key log is damaged, and clients would see that: restore the database from a backup: %w", s.ColumnInt64(0), err)
		}
		return nil
	}, int64(checkedEntries))
	return err
}

// lastVersion returns the key version that a name had last, 0 if it never had one:
// who takes a name that was deleted goes on counting, so that others see a change.
func (c *conn) lastVersion(name string) (int64, error) {
	return c.Int64("SELECT version FROM log WHERE name = ? ORDER BY seq DESC LIMIT 1", keydir.NameHash(name))
}

// getLog answers GET /log?from=N.
func (d *Directory) getLog(w http.ResponseWriter, r *http.Request) {
	from := int64(1)
	if text := r.URL.Query().Get("from"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			http.Error(w, "from is not the number of an entry, 1 or more", http.StatusBadRequest)
			return
		}
		from = n
	}
	if d.limited(w, r, d.limits.pages) {
		return
	}
	var out bytes.Buffer
	err := d.store.read(func(c *conn) error {
		return c.Each("SELECT line FROM log WHERE seq >= ? ORDER BY seq LIMIT "+strconv.Itoa(keydir.PageEntries), func(s *sqlite3.Stmt) error {
			out.Write(s.ColumnRawText(0))
			return out.WriteByte('\n')
		}, from)
	})
	if err != nil {
		d.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Write(out.Bytes())
}

// headAge is how long a signed head is sent again.
const headAge = time.Second

// A headCache bounds what signing heads costs.
type headCache struct {
	mu     sync.Mutex
	head   keydir.Head
	signed []byte
}

// getHead answers GET /log/head.
func (d *Directory) getHead(w http.ResponseWriter, r *http.Request) {
	var h keydir.Head
	err := d.store.read(func(c *conn) (err error) { h, err = c.head(); return err })
	var body []byte
	if err == nil {
		body, err = d.signedHead(h)
	}
	if err != nil {
		d.fail(w, fmt.Errorf("the head of the log: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(body)
}

func (d *Directory) signedHead(h keydir.Head) ([]byte, error) {
	d.heads.mu.Lock()
	defer d.heads.mu.Unlock()
	now := d.o.Now()
	last := d.heads.head
	if age := now.Sub(time.UnixMilli(last.Time)); d.heads.signed != nil && last.Size == h.Size && age >= 0 && age < headAge {
		return d.heads.signed, nil
	}
	h.Time = now.UnixMilli()
	b, err := h.Sign(d.key)
	if err != nil {
		return nil, err
	}
	d.heads.head, d.heads.signed = h, append(b, '\n')
	return d.heads.signed, nil
}
