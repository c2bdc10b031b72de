// Package server is the public-key directory as a service: the provider of NES
// (seeds/nes-messenger.txt, Public keys provider, Table 1) with what docs/keydir.md
// adds to it. It keeps public keys, hashes of tokens and of e-mail addresses, and a
// log of every change; it links nothing that could open a message.
package server

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"parley/internal/frontlimit"
)

// ErrShutdown is what [Directory.Serve] returns after [Directory.Shutdown].
var ErrShutdown = errors.New("the directory is shut down")

// Options say how a directory behaves.
type Options struct {
	Dir     string // its folder; made, mode 0700
	KeyFile string // the signing key (PEM, mode 0600); empty: key.pem in Dir, made at the first start
	// URL is where people reach the directory, without a slash at its end; it may
	// have a path. SetURL may give it later, before Serve.
	URL string
	// Mail is the mail server; nil: mails become files in the folder "mail" of Dir.
	Mail *Mail
	// GetLinks lets a GET of a mailed link act at once, as the original's does, when
	// it does not come from a browser (which says that it takes text/html).
	GetLinks bool
	Metrics  bool           // GET /metrics for all, not only for loopback clients
	Proxies  []netip.Prefix // whose X-Forwarded-For is believed
	Limits   Limits
	Now      func() time.Time             // without a monotonic reading; nil: the wall clock
	Trouble  func(what string, err error) // told of the machine's faults, never of clients; nil: nobody
}

// A Directory is a running directory.
type Directory struct {
	o       Options
	key     *rsa.PrivateKey
	keyPEM  []byte
	secret  []byte // for HMACs of e-mail addresses
	store   store
	post    courier
	answers *answers
	heads   headCache
	probe   probe
	limits  *limiters
	counts  counts
	http    *http.Server
	base    string   // the path of the URL, without a slash at its end
	prefix  []string // its segments

	wake  chan struct{} // mail may be waiting
	ctx   context.Context
	stop  context.CancelFunc
	begin sync.Once
	tasks sync.WaitGroup
	once  sync.Once
	err   error
}

// New opens a directory. Serve starts it; Shutdown ends all.
func New(o Options) (*Directory, error) {
	if o.Now == nil {
		// The wall clock alone: the monotonic one stands still while a machine sleeps, and
		// what is signed says when it ends by the wall clock.
		o.Now = func() time.Time { return time.Now().Round(0) }
	}
	if o.Trouble == nil {
		o.Trouble = func(string, error) {}
	}
	o.Limits = o.Limits.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	d := &Directory{o: o, wake: make(chan struct{}, 1)}
	var err error
	if d.key, err = signingKey(o.Dir, o.KeyFile); err != nil {
		return nil, err
	}
	if d.secret, err = mailboxSecret(o.Dir); err != nil {
		return nil, err
	}
	d.keyPEM = publicPEM(d.key)
	if d.post, err = newCourier(&o); err != nil {
		return nil, err
	}
	if d.store, err = openStore(o.Dir); err != nil {
		return nil, err
	}
	if err = d.store.read(func(c *conn) error { return c.checkLog() }); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", filepath.Join(o.Dir, databaseName), err), d.store.Close())
	}
	d.answers = newAnswers(o.Limits.Answers)
	d.limits = newLimiters(o.Limits)
	d.SetURL(o.URL)
	d.http = &http.Server{
		Handler:           d.handler(),
		ReadHeaderTimeout: o.Limits.Header, ReadTimeout: o.Limits.Read, WriteTimeout: o.Limits.Write, IdleTimeout: o.Limits.Idle,
		MaxHeaderBytes: maxHeader, ErrorLog: quiet,
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d, nil
}

// SetURL says where people reach the directory. It must not be called after Serve.
func (d *Directory) SetURL(base string) {
	d.o.URL = strings.TrimRight(base, "/")
	d.prefix, d.base = nil, ""
	if u, err := url.Parse(d.o.URL); err == nil && strings.Trim(u.Path, "/") != "" {
		d.base = strings.TrimRight(u.EscapedPath(), "/")
		d.prefix = segments(d.base)
	}
}

// Serve answers on a listener until Shutdown; then the error is [ErrShutdown].
// Beside answering, it sends mail and forgets who never activated.
func (d *Directory) Serve(l net.Listener) error {
	d.begin.Do(func() {
		d.tasks.Go(func() { d.deliver(d.ctx) })
		d.forget()
	})
	err := d.http.Serve(frontlimit.Listen(l, frontlimit.Conns{
		All: d.o.Limits.Connections, PerNetwork: d.o.Limits.ConnectionsPerHost, Proxies: d.o.Proxies, Refused: func() { d.counts.limited.Add(1) },
	}))
	if errors.Is(err, http.ErrServerClosed) {
		return ErrShutdown
	}
	return err
}

// forget removes what has expired, now and every hour, and empties the write-ahead log
// when something was deleted, beside the sending of mail, which may wait for a server.
func (d *Directory) forget() {
	trouble := func(what string) func(error) {
		return func(err error) { d.o.Trouble(what, err) }
	}
	d.tasks.Go(func() { d.store.SweepHourly(d.ctx, d.sweep, trouble("the sweep of the directory")) })
	d.tasks.Go(func() { d.store.RunCheckpoints(d.ctx, trouble("the database of the directory")) })
}

// Shutdown lets requests under way end, until ctx does, and closes everything. It
// may be repeated. Mails that wait are sent after the next start.
func (d *Directory) Shutdown(ctx context.Context) error {
	d.once.Do(func() {
		if d.http.Shutdown(ctx) != nil {
			d.http.Close() // cutting off those who are slow is part of the plan
		}
		d.stop()
		d.tasks.Wait()
		d.err = d.store.Close()
	})
	return d.err
}

// PublicKey is the key that verifies what the directory signs.
func (d *Directory) PublicKey() *rsa.PublicKey { return &d.key.PublicKey }
