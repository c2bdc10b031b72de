package profile

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
	_ "github.com/ncruces/go-sqlite3/vfs/adiantum" // the encrypting VFS of that name
)

// blockSize is what the VFS encrypts in one piece, in bytes. A page is one block.
const blockSize = 4096

// pragmas are set on every connection.
//
// Write-ahead log with synchronous=FULL: a commit is on disk when it returns, for
// one fsync. The encrypting VFS rewrites the block that the end of one commit
// shares with the start of the next. FULL makes SQLite fill the log up to the next
// block after each commit, so that no commit depends on a block that is written
// again; torn_test.go shows it.
const pragmas = `
	PRAGMA locking_mode = NORMAL;
	PRAGMA synchronous = FULL;
	PRAGMA foreign_keys = ON;
	PRAGMA secure_delete = ON;
	PRAGMA temp_store = MEMORY;
	PRAGMA trusted_schema = OFF;
	PRAGMA cell_size_check = ON;
	PRAGMA journal_size_limit = 0;
	PRAGMA wal_autocheckpoint = 256;`

// openDatabase opens the writer and the readers. With fresh, the file is made.
func (p *Profile) openDatabase(path string, fresh bool) error {
	if fresh {
		if err := touch(path, os.O_EXCL); err != nil {
			return err
		}
	}
	// The VFS makes the files beside the database; these two keep them ours alone.
	if err := touch(path+"-shm", 0); err != nil {
		return err
	}
	if err := repairLog(path + "-wal"); err != nil {
		return err
	}
	source, err := p.sourceName(path)
	if err != nil {
		return err
	}
	if p.writer, err = driver.Open(source+"&_txlock=immediate", connect("")); err != nil {
		return err
	}
	p.writer.SetMaxOpenConns(1)
	if err := p.prepareDatabase(fresh); err != nil {
		p.closeDatabase()
		return databaseError(path, err)
	}
	if p.readers, err = driver.Open(source, connect("PRAGMA query_only = ON")); err != nil {
		p.closeDatabase()
		return err
	}
	p.readers.SetMaxOpenConns(4)
	return nil
}

func connect(more string) func(*sqlite3.Conn) error {
	return func(c *sqlite3.Conn) error {
		if err := c.BusyTimeout(10 * time.Second); err != nil {
			return err
		}
		return c.Exec(pragmas + more)
	}
}

// prepareDatabase proves that the key is right and the settings took.
func (p *Profile) prepareDatabase(fresh bool) error {
	ctx := context.Background()
	if fresh {
		// A checksum in each page: with a cipher that garbles the whole block when
		// one bit of it changes, no changed page is ever taken for a good one.
		conn, err := p.writer.Conn(ctx)
		if err != nil {
			return err
		}
		err = conn.Raw(func(c any) error { return c.(driver.Conn).Raw().EnableChecksums("main") })
		if err := errors.Join(err, conn.Close()); err != nil {
			return err
		}
	}
	// A checkpoint that the power cut short may have torn the first page; the log
	// has it whole, and to finish the checkpoint mends it.
	var verified bool
	if err := p.writer.QueryRowContext(ctx, "PRAGMA checksum_verification").Scan(&verified); err != nil {
		return err
	}
	if !verified {
		if err := p.Checkpoint(ctx); err != nil {
			return err
		}
	}
	for _, c := range []struct{ pragma, want string }{
		{"journal_mode = WAL", "wal"},
		{"synchronous", "2"},
		{"foreign_keys", "1"},
		{"page_size", fmt.Sprint(blockSize)},
		{"checksum_verification", "1"},
	} {
		var got string
		if err := p.writer.QueryRowContext(ctx, "PRAGMA "+c.pragma).Scan(&got); err != nil {
			return err
		}
		if got != c.want {
			return fmt.Errorf("profile: SQLite refuses %s: %s, not %s", c.pragma, got, c.want)
		}
	}
	var n int
	return p.writer.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n)
}

// DB is for reading: its connections cannot write, and see what the last
// committed Tx left.
func (p *Profile) DB() *sql.DB { return p.readers }

// Checkpoint moves the write-ahead log into the database and empties it, so that
// deleted rows are overwritten in both. It does what it can while others read.
func (p *Profile) Checkpoint(ctx context.Context) error {
	var busy, log, moved int
	return p.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved)
}

// closeDatabase closes the writer last: it moves the log into the database.
func (p *Profile) closeDatabase() error {
	var err error
	if p.readers != nil {
		err = p.readers.Close()
	}
	if p.writer != nil {
		err = errors.Join(err, p.writer.Close())
	}
	p.readers, p.writer = nil, nil
	return err
}

// unreadable says that what stands on disk is not what was written there with
// this key.
func unreadable(err error) bool {
	return errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.IOERR_DATA)
}

// damaged says so in words; other errors stay as they are.
func (p *Profile) damaged(err error) error {
	if unreadable(err) && !errors.Is(err, ErrDamaged) {
		return databaseError(p.dir, err)
	}
	if errors.Is(err, sqlite3.IOERR) || errors.Is(err, sqlite3.FULL) {
		return fmt.Errorf("the profile in %s cannot be written: is its disk full? nothing was changed: %w", p.dir, err)
	}
	return err
}

// databaseError tells what cannot be read with this key from other trouble.
func databaseError(path string, err error) error {
	if unreadable(err) {
		return fmt.Errorf("%s: %w: it is changed, or not of this %s: restore both from a backup: %w", path, ErrDamaged, keyName, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// sourceName holds the key: the VFS needs it before SQLite reads the first page,
// else it does not learn in time that pages have checksums. It goes nowhere else.
func (p *Profile) sourceName(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	slash := filepath.ToSlash(abs)
	if slash[0] != '/' {
		slash = "/" + slash
	}
	query := url.Values{
		"vfs": {"adiantum"}, "hexkey": {hex.EncodeToString(p.keys.database)}, "mode": {"rw"}, "modeof": {abs},
	}.Encode()
	// SQLite knows no + for a space.
	u := url.URL{Scheme: "file", Path: slash, RawQuery: strings.ReplaceAll(query, "+", "%20")}
	return u.String(), nil
}

func touch(path string, flags int) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|flags, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// repairLog cuts off a last block that was not written wholly: nobody can
// decrypt it, and no commit that returned has any part in it.
func repairLog(path string) error {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if rest := st.Size() % blockSize; rest != 0 {
		return os.Truncate(path, st.Size()-rest)
	}
	return nil
}
