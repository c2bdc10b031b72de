package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"parley"
	"parley/internal/keyfile"
	"parley/paddevice"
	"parley/padstore"
)

// Errors of [Start].
var (
	// ErrConfig means that the options do not go together.
	ErrConfig = errors.New("options of the pad device")
	// ErrListen means that an address cannot be listened on.
	ErrListen = errors.New("cannot listen")
)

// Options say what a device serves.
type Options struct {
	Dir    string // of the pads
	Marks  string // outside Dir; "" is MarksDir's
	Listen string // the original's RPC, HOST:PORT; "": none
	// PointToPoint lets Listen be an address that is not loopback: that of a cable with
	// nothing else at its other end. What is on it is neither encrypted nor authenticated.
	PointToPoint bool
	Paired       string // the paired channel, HOST:PORT; "": none
	Page         string // the confirmation page, a loopback HOST:PORT; "": none
	AllowAll     bool   // ask nobody
	Timeout      time.Duration
	In           io.Reader // the terminal: answers; may be nil
	Out          io.Writer // and what is shown there
	// Pairing shows a code on the terminal, when In asks for one.
	Pairing func(paddevice.Code) string

	open func(dir string, o padstore.Options) (Pads, error) // tests
}

// saltName is a file of a device that allows everything.
const saltName = "allow-all.salt"

// testSalt is of this folder alone, so that a test may put one and the same unused pad of
// version 1 into a new folder, again and again: elsewhere that is taken for a used pad
// that was put back. Without a salt it is here, too.
func testSalt(dir string) []byte {
	path := filepath.Join(dir, saltName)
	if b, err := keyfile.Read(path); err == nil {
		return b
	}
	salt := make([]byte, 16)
	rand.Read(salt)
	if keyfile.Create(path, salt) != nil {
		return nil
	}
	return salt
}

// stopTime is how long requests that are under way have when the device stops.
const stopTime = 10 * time.Second

// A Server is a device that runs.
type Server struct {
	Addresses []string // "http://HOST:PORT" of the RPC, then "parley-pad://HOST:PORT" of the paired channel
	PageURL   string   // of the page, with its secret

	dev     *device
	term    *terminal
	servers []*http.Server
	failed  chan error
	stop    context.CancelFunc
	running sync.WaitGroup
	started bool
}

// dirPads is a folder of padstore's.
type dirPads struct{ *padstore.Dir }

func (d dirPads) Find(self, peer parley.Name) (Pad, error) {
	p, err := d.Dir.Find(self, peer)
	if err != nil { // a nil *padstore.Pad is no nil Pad
		return nil, err
	}
	return p, nil
}

func (d dirPads) All() (all []Pad) {
	for _, p := range d.Dir.All() {
		all = append(all, p)
	}
	return all
}

func openDir(dir string, o padstore.Options) (Pads, error) {
	d, err := padstore.OpenDir(dir, o)
	return dirPads{d}, err
}

// Start starts a device. Several may run on one folder: each use of a pad takes the pad's
// lock.
func Start(o Options) (_ *Server, err error) {
	if o.Listen == "" && o.Paired == "" {
		return nil, fmt.Errorf("%w: give an address to listen on, for the original's RPC, the paired channel or both", ErrConfig)
	}
	if o.Marks == "" {
		if o.Marks, err = MarksDir(); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(o.check(), fit(o.Dir, o.Marks)); err != nil {
		return nil, err
	}
	if err := CheckMarks(o.Dir, o.Marks); err != nil {
		return nil, err
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.open == nil {
		o.open = openDir
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{failed: make(chan error, 4), stop: cancel}
	defer func() {
		if err != nil {
			s.Shutdown(context.Background())
		}
	}()
	t := newTerminal(o.Out)
	t.confirm = NewConfirm(o.Timeout, t.told)
	s.term = t
	s.dev = &device{dir: o.Dir, marks: o.Marks, allowAll: o.AllowAll, say: t.say, confirm: t.confirm}
	d := s.dev
	unlock, err := lock(ctx, o.Dir) // it can be written to, or this says why not
	if err != nil {
		return nil, err
	}
	unlock()
	d.log, err = OpenLog(o.Dir, o.Marks, func(e Entry) {
		switch e.Kind {
		case KindStart, KindStop, KindAllow:
		case KindLog:
			t.say(changed, e.Text)
		default:
			t.say("LOG %s\n", e)
		}
	}, func(err error) { t.say("%v\n", err) })
	if err != nil {
		return nil, err
	}
	if how := d.log.Broken(); how != "" {
		t.say("The event log was found changed, now or earlier, for the first time when %s. \"parley-pad log\" shows where, for as long as this log is kept.\n", how)
	}
	if d.answered, err = openAnswered(ctx, o.Dir); err != nil {
		return nil, err
	}
	po := padstore.Options{Marks: o.Marks, Event: d.note}
	if o.AllowAll {
		po.Salt = testSalt(o.Dir)
	}
	if d.pads, err = o.open(o.Dir, po); err != nil {
		d.pads = nil
		return nil, err
	}
	if err := s.listen(ctx, o); err != nil {
		return nil, err
	}
	s.started = true
	d.log.Add(Entry{Kind: KindStart, Text: fmt.Sprintf("listens on %v", s.Addresses)})
	if o.AllowAll {
		d.log.Add(Entry{Kind: KindAllow, Text: "every request is allowed without asking"})
		t.say("%s", banner)
	}
	d.log.Sync()
	if o.Paired != "" && o.Pairing != nil {
		t.pair = func() string {
			c, err := NewCode(ctx, o.Dir, "")
			if err != nil {
				return fmt.Sprintf("No pairing code: %v\n", err)
			}
			return o.Pairing(c)
		}
	}
	s.running.Go(func() { t.show(ctx) })
	if o.In != nil {
		go t.read(o.In) // until the input ends: a read cannot be taken back
	}
	return s, nil
}

const changed = `
*********************************************************************
**  THE EVENT LOG WAS CHANGED by something else than a pad device. **
*********************************************************************
   %s
`

const banner = `
*********************************************************************
**  --allow-all: EVERY request is ALLOWED and nobody is asked.     **
**  Whoever reaches this device can use up its pads and read what  **
**  comes. This is for tests.                                      **
*********************************************************************
`

func (s *Server) listen(ctx context.Context, o Options) error {
	d, at := s.dev, ""
	if o.Listen != "" {
		addr, err := s.serve(o.Listen, nil, d.rpc)
		if err != nil {
			return err
		}
		s.Addresses = append(s.Addresses, "http://"+addr)
	}
	if o.Paired != "" {
		key, err := deviceKey(o.Dir)
		if err != nil {
			return err
		}
		cfg, err := paddevice.TLSConfig(key, func(paddevice.Fingerprint) error { return nil })
		if err != nil {
			return err
		}
		addr, err := s.serve(o.Paired, cfg, d.channel)
		if err != nil {
			return err
		}
		s.Addresses = append(s.Addresses, "parley-pad://"+addr)
		at = reachable(addr)
	}
	if err := announce(ctx, o.Dir, at, realPath(o.Marks)); err != nil {
		return err
	}
	if o.Page != "" && !o.AllowAll {
		l, err := net.Listen("tcp", o.Page)
		if err != nil {
			return fmt.Errorf("%w on %s for the page: %w", ErrListen, o.Page, err)
		}
		p := newPage(l.Addr().String(), d.confirm, d.log, ctx)
		s.run(limit(l), p.serve)
		s.PageURL = p.url()
	}
	return nil
}

// check says what is wrong with the addresses, before anything is written.
func (o *Options) check() error {
	if o.Listen != "" {
		if err := plainAddress(o.Listen, o.PointToPoint); err != nil {
			return err
		}
	}
	if host, _, err := net.SplitHostPort(o.Paired); err == nil && nobodys(net.ParseIP(host)) {
		return fmt.Errorf("%w: %s is no address of a device", ErrConfig, host)
	}
	if o.Page != "" && !o.AllowAll {
		return plainAddress(o.Page, false)
	}
	return nil
}

// plainAddress says what is wrong with an address at which everything is in the clear.
func plainAddress(address string, cable bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not HOST:PORT", ErrConfig, address)
	}
	ip := net.ParseIP(host)
	switch {
	case host == "localhost" || ip != nil && ip.IsLoopback():
		return nil
	case ip == nil || ip.IsUnspecified() || nobodys(ip):
		return fmt.Errorf("%w: %q would let everybody in the network use the pads: give a loopback address such as 127.0.0.1, or the device's address on a cable", ErrConfig, host)
	case !cable:
		return fmt.Errorf("%w: whoever reaches %s could read what is sent and ask for what they like: use --paired instead, or --point-to-point if it is a cable with nothing but your computer at its other end", ErrConfig, host)
	}
	return nil
}

// nobodys reports whether an address is that of many, and so nobody's to listen on.
func nobodys(ip net.IP) bool { return ip != nil && (ip.IsMulticast() || ip.Equal(net.IPv4bcast)) }

// reachable is an address that others can dial: when the device listens on all of its
// addresses, one of them.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return addr
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && !n.IP.IsLinkLocalUnicast() {
			return net.JoinHostPort(n.IP.String(), port)
		}
	}
	return net.JoinHostPort("127.0.0.1", port)
}

func (s *Server) serve(address string, cfg *tls.Config, h http.HandlerFunc) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("%w on %s: %w", ErrListen, address, err)
	}
	addr := l.Addr().String()
	l = limit(l)
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	s.run(l, h)
	return addr, nil
}

func (s *Server) run(l net.Listener, h http.HandlerFunc) {
	srv := httpServer(h)
	s.servers = append(s.servers, srv)
	s.running.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	})
}

// Failed tells of a listener that has ended by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown stops the device: questions end without a yes, what is allowed already is
// done, and the pads are closed, after which the metadata of version 1 is current. It
// returns within stopTime whatever hangs.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	if s.dev == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.shutdown(ctx) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = errors.New("the device could not stop in order: a disk or another program did not answer in time. No pad is lost; the metadata files of version 1 may be behind, and are made current at the next start and stop")
	}
	s.term.close()
	return err
}

// shutdown leaves the last third of the time to the pads.
func (s *Server) shutdown(ctx context.Context) error {
	d := s.dev
	d.confirm.Close()
	end, _ := ctx.Deadline()
	requests, cancel := context.WithTimeout(ctx, time.Until(end)*2/3)
	defer cancel()
	for _, srv := range s.servers {
		if srv.Shutdown(requests) != nil {
			srv.Close()
		}
	}
	idle := make(chan struct{})
	go func() { s.running.Wait(); d.flights.running.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-requests.Done():
	}
	var errs []error
	if d.pads != nil {
		errs = append(errs, d.pads.Close())
	}
	if d.answered != nil {
		errs = append(errs, d.answered.Close())
	}
	if d.log != nil {
		if s.started {
			d.log.Add(Entry{Kind: KindStop})
		}
		errs = append(errs, d.log.Close())
	}
	return errors.Join(errs...)
}
