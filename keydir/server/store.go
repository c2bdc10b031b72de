package server

import (
	"path/filepath"

	"parley/internal/groupdb"
)

// batch is how many writes one commit may carry.
const batch = 64

// A store is the database.
type store struct{ *groupdb.DB }

// A conn is a connection to it, with what the directory asks it.
type conn struct{ *groupdb.Conn }

func openStore(dir string) (store, error) {
	db, err := groupdb.Open(filepath.Join(dir, databaseName), groupdb.Schema{Create: schema, Upgrades: []string{toVersion2}}, batch)
	return store{db}, err
}

func (s store) read(f func(*conn) error) error {
	return s.Read(func(c *groupdb.Conn) error { return f(&conn{c}) })
}

func (s store) write(do func(*conn) error) error {
	return s.Write(func(c *groupdb.Conn) error { return do(&conn{c}) })
}
