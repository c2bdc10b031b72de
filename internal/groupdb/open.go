package groupdb

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// A Schema says what tables a database has. The version that it has in the file
// (PRAGMA user_version) is 1 and one more for each upgrade; the statements need not
// set it.
type Schema struct {
	Create   string   // statements that make the tables of a new database
	Upgrades []string // the first makes version 2 of version 1, and so on
}

func (s Schema) version() int64 { return int64(len(s.Upgrades)) + 1 }

// busyTime is how long a statement waits for another process that has the database.
const busyTime = 10 * time.Second

// Write-ahead log with synchronous=FULL: a commit is on disk when it returns.
// secure_delete: what is deleted is overwritten.
const pragmas = `
	PRAGMA synchronous = FULL;
	PRAGMA foreign_keys = ON;
	PRAGMA secure_delete = ON;
	PRAGMA temp_store = MEMORY;
	PRAGMA trusted_schema = OFF;
	PRAGMA cell_size_check = ON;
	PRAGMA wal_autocheckpoint = 1000;`

// Open opens a database, and makes it if it is not there; its folder must be. batch is
// how many writes one commit may carry. Errors name the file; those that mean a full disk
// are [ErrDiskFull].
func Open(path string, schema Schema, batch int) (*DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// SQLite would make these for others to read, depending on the umask.
	for _, name := range []string{abs, abs + "-shm"} {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, DiskFault(err)
		}
		f.Close()
	}
	db := &DB{
		readers: make(chan *Conn, readers), writes: make(chan *write, batch), batch: batch,
		closing: make(chan struct{}), deleted: make(chan struct{}, 1),
		isFull: func() bool { return fullDisk(filepath.Dir(abs)) },
	}
	if err := db.connect(source(abs), schema); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", abs, db.diskFault(err)), db.disconnect())
	}
	db.done.Go(db.run)
	return db, nil
}

// source is how SQLite names a file.
func source(abs string) string {
	slash := filepath.ToSlash(abs)
	if slash[0] != '/' {
		slash = "/" + slash
	}
	// SQLite knows no + for a space.
	query := strings.ReplaceAll(url.Values{"mode": {"rw"}, "modeof": {abs}}.Encode(), "+", "%20")
	u := url.URL{Scheme: "file", Path: slash, RawQuery: query}
	return u.String()
}

func (db *DB) connect(source string, schema Schema) (err error) {
	if db.writer, err = openConn(source, ""); err != nil {
		return err
	}
	if err := db.writer.prepare(schema); err != nil {
		return err
	}
	for range readers {
		c, err := openConn(source, "PRAGMA query_only = ON")
		if err != nil {
			return err
		}
		db.readers <- c
	}
	return nil
}

// disconnect closes what an opening that failed has opened.
func (db *DB) disconnect() error {
	close(db.readers)
	var err error
	for c := range db.readers {
		err = errors.Join(err, c.close())
	}
	if db.writer != nil {
		err = errors.Join(err, db.writer.close())
	}
	return err
}

func openConn(source, more string) (*Conn, error) {
	c, err := sqlite3.Open(source)
	if err != nil {
		return nil, err
	}
	if err = c.BusyTimeout(busyTime); err == nil {
		err = c.Exec(pragmas + more)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &Conn{conn: c, stmts: map[string]*sqlite3.Stmt{}}, nil
}

// prepare makes the tables of a new database and looks at those of an old one.
func (c *Conn) prepare(schema Schema) error {
	var mode string
	if err := c.Each("PRAGMA journal_mode = WAL", func(s *sqlite3.Stmt) error { mode = s.ColumnText(0); return nil }); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("SQLite refuses a write-ahead log here: %s", mode)
	}
	version, err := c.Int64("PRAGMA user_version")
	if err != nil {
		return err
	}
	var changes []string
	switch {
	case version == schema.version():
		return nil
	case version == 0:
		changes = []string{schema.Create}
	case version > 0 && version < schema.version():
		changes = schema.Upgrades[version-1:]
	default:
		return errors.New("the database was written by a later version of this program")
	}
	sql := "BEGIN IMMEDIATE;"
	for _, s := range changes {
		sql += s + ";"
	}
	return c.Script(sql + fmt.Sprintf("PRAGMA user_version = %d;COMMIT;", schema.version()))
}
