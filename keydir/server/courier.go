package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"

	gomail "github.com/wneessen/go-mail"

	"parley/internal/groupdb"
	"parley/internal/keyfile"
)

// A courier takes mails to where they go. open reaches it; send may then be called
// once for each mail, until the trip is over, and close ends it.
type courier interface {
	// form is how bodies are written: in a file, links stay whole for its reader.
	form() gomail.Encoding
	open(ctx context.Context) (trip, error)
}

type trip interface {
	send(m *gomail.Msg, from, to, name string) error
	over() bool // after an error: no other mail can be sent
	close()
}

func newCourier(o *Options) (courier, error) {
	if o.Mail != nil {
		if o.Mail.Host == "" || o.Mail.Port < 1 || o.Mail.Port > 65535 {
			return nil, errors.New("the mail server has no host or port")
		}
		return smtp{o.Mail}, nil
	}
	dir := filepath.Join(o.Dir, mailName)
	return folder(dir), os.MkdirAll(dir, 0o700)
}

// folder is where mails become files, for the operator to hand on.
type folder string

func (folder) form() gomail.Encoding { return gomail.NoEncoding }

func (f folder) open(context.Context) (trip, error) { return f, nil }

func (f folder) send(m *gomail.Msg, _, _, name string) error {
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		return err
	}
	path := filepath.Join(string(f), name+".eml")
	err := keyfile.Create(path, b.Bytes())
	if errors.Is(err, os.ErrExist) { // written before a crash
		err = keyfile.Replace(path, b.Bytes())
	}
	return groupdb.DiskFault(err)
}

func (folder) over() bool { return false }
func (folder) close()     {}
