// Package server is one relay process: its configuration, its data folder, its
// listeners, its life. It puts the embedded store, the broker and the fronts
// together, and links nothing that could open a message.
//
// Operating it is described in docs/parleyd.md.
package server

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"parley/broker"
	"parley/broker/store/pebblestore"
	mqttserver "parley/carrier/mqtt/server"
	otcserver "parley/carrier/relay/server"
	smpserver "parley/carrier/smp/server"
	keydirserver "parley/keydir/server"
)

// ErrListen says that an address cannot be listened on.
var ErrListen = errors.New("cannot listen")

// drainTime is how long Shutdown waits for commands under way, so that a stop
// takes at most 5 s with the store's close.
const drainTime = 2500 * time.Millisecond

// A Server is a running relay.
type Server struct {
	log        *slog.Logger
	lock       io.Closer
	broker     *broker.Broker     // nil without SMP
	front      *smpserver.Server  // likewise
	mqtt       *mqttserver.Server // nil without MQTT
	cert       certificate
	keydir     *keydirserver.Directory // nil without a key directory
	keydirCert *fileCertificate        // nil without TLS there
	otc        *otcserver.Server       // nil without a relay of One Time Chat
	otcCert    *fileCertificate        // nil without TLS there
	warned     sync.Once
	addresses  []string
	failed     chan error
	serving    sync.WaitGroup
	once       sync.Once
	err        error
}

// Start starts a relay. When it returns, the addresses accept connections. The
// errors are [ErrConfig], [ErrLocked], [ErrListen], or trouble with the data
// folder. The log gets what the operator must know of the machine and nothing
// of clients: no connection, command, ID or address, on any level.
func Start(cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	creators, err := readCreators(cfg.SMP2020Creators)
	if err != nil {
		return nil, err
	}
	if cfg.MemoryLimit > 0 {
		debug.SetMemoryLimit(int64(cfg.MemoryLimit))
	}
	lock, err := openData(cfg.Data)
	if err != nil {
		return nil, err
	}
	s := &Server{log: log, lock: lock, failed: make(chan error, 6)}
	trouble := newTrouble(log)
	fronts := 0
	for _, on := range []bool{cfg.wantsSMP(), cfg.MQTT != "" || cfg.MQTTTLS != "", cfg.Keydir != "", cfg.OTC != ""} {
		if on {
			fronts++
		}
	}
	if cfg.wantsSMP() {
		err = s.openSMP(&cfg, creators, fronts, trouble)
	}
	if err == nil {
		err = s.openMQTT(&cfg, fronts, trouble)
	}
	if err == nil {
		err = s.openKeydir(&cfg, fronts, trouble)
	}
	if err == nil {
		err = s.openOTC(&cfg, fronts, trouble)
	}
	if err == nil {
		err = s.listen(&cfg)
	}
	if err != nil {
		return nil, errors.Join(err, s.close(context.Background()))
	}
	return s, nil
}

// anyListener reports whether an address to listen on is given.
func (c *Config) anyListener() bool {
	return c.SMP2020 != "" || c.SMP2020Plain != "" || c.MQTT != "" || c.MQTTTLS != "" || c.Keydir != "" || c.OTC != ""
}

// wantsSMP reports whether there is to be an SMP relay: if one of its addresses is
// given, or none of anything.
func (c *Config) wantsSMP() bool {
	return c.SMP2020 != "" || c.SMP2020Plain != "" || !c.anyListener()
}

// openSMP opens the queues and what serves them.
func (s *Server) openSMP(cfg *Config, creators []*rsa.PublicKey, fronts int, trouble *trouble) error {
	key, err := transportKey(cfg.Data)
	if err != nil {
		return err
	}
	st, err := pebblestore.Open(filepath.Join(cfg.Data, queueName), pebblestore.Options{
		MemTable: int(cfg.Store.MemTable), Cache: int64(cfg.Store.Cache), Reserve: uint64(cfg.Store.Reserve),
		ScrubEvery: time.Duration(cfg.Store.Scrub),
		Report:     func(err error) { trouble.report("the store", err) },
	})
	if err != nil {
		return err
	}
	s.broker = broker.New(st, broker.Options{
		Quota: cfg.Queues.Quota, MessageTTL: time.Duration(cfg.Queues.MessageTTL),
		SuspendedTTL: time.Duration(cfg.Queues.SuspendedTTL), SweepEvery: time.Duration(cfg.Queues.Sweep),
		Subscriptions: cfg.Limits.Subscriptions, Trouble: trouble.report,
	})
	wanted := cfg.Limits.Connections
	if wanted == 0 {
		wanted = 20_000
	}
	s.front, err = smpserver.New(s.broker, key, smpserver.Options{
		Creators: creators,
		MaxConns: connections(wanted, fronts, s.log), MaxPlain: cfg.Limits.PlainConnections,
		HostConns: cfg.Limits.ConnectionsPerHost, MaxHandshakes: cfg.Limits.Handshakes,
		HostHandshakes:   cfg.Limits.HandshakesPerHost,
		HandshakeTimeout: time.Duration(cfg.Limits.Handshake), IdleTimeout: time.Duration(cfg.Limits.Idle),
		BlockTimeout: time.Duration(cfg.Limits.Block), WriteTimeout: time.Duration(cfg.Limits.Write),
		Memory: int64(cfg.Limits.Memory), Trouble: trouble.report,
	})
	return err
}

func readCreators(path string) ([]*rsa.PublicKey, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: creators' keys: %w", ErrConfig, err)
	}
	defer f.Close()
	keys, err := smpserver.ParseCreators(f)
	if err != nil {
		return nil, fmt.Errorf("%w: creators' keys: %s: %w", ErrConfig, path, err)
	}
	return keys, nil
}

// Addresses returns where clients reach the relay, one smp2020://KEYHASH@HOST:PORT,
// smp2020-plain://HOST:PORT, mqtt://HOST:PORT, mqtts://HOST:PORT, http[s]://HOST:PORT
// (the key directory) or otc[s]://HOST:PORT for each listener, in that order. A
// self-signed certificate adds ?cert-sha256=HEX.
func (s *Server) Addresses() []string { return append([]string(nil), s.addresses...) }

// Failed yields an error if a listener fails; then Shutdown is all that is left.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown stops accepting, answers what was received, closes all connections
// and then the store. It takes at most about 5 s, less if ctx ends before. It
// may be repeated.
func (s *Server) Shutdown(ctx context.Context) error {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		s.err = s.close(ctx)
	})
	return s.err
}

// close closes all that is open.
func (s *Server) close(ctx context.Context) error {
	var mqttErr, keydirErr, otcErr error
	var both sync.WaitGroup
	if s.mqtt != nil {
		both.Go(func() { mqttErr = s.mqtt.Shutdown(ctx) })
	}
	if s.keydir != nil {
		both.Go(func() { keydirErr = s.keydir.Shutdown(ctx) })
	}
	if s.otc != nil {
		both.Go(func() { otcErr = s.otc.Shutdown(ctx) })
	}
	if s.front != nil {
		// Cutting off those who don't read is part of the plan, no error.
		_ = s.front.Shutdown(ctx)
	}
	both.Wait()
	s.serving.Wait()
	if s.broker != nil {
		mqttErr = errors.Join(s.broker.Close(), mqttErr)
	}
	return errors.Join(mqttErr, keydirErr, otcErr, s.lock.Close())
}
