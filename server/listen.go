package server

import (
	"errors"
	"fmt"
	"net"
	"os"

	"parley/carrier/smp"
	smpserver "parley/carrier/smp/server"
)

// listen opens all listeners before any of them accepts.
func (s *Server) listen(cfg *Config) error {
	encrypted, plain := cfg.SMP2020, cfg.SMP2020Plain
	if encrypted == "" && plain == "" {
		encrypted = DefaultListen
	}
	var open []net.Listener
	var serve []func(net.Listener) error
	for _, a := range []struct {
		addr  string
		plain bool
		serve func(net.Listener) error
	}{{encrypted, false, s.front.Serve}, {plain, true, s.front.ServePlain}} {
		if a.addr == "" {
			continue
		}
		l, address, err := s.open(a.addr, cfg.Host, a.plain)
		if err != nil {
			for _, l := range open {
				l.Close()
			}
			return err
		}
		open, serve = append(open, l), append(serve, a.serve)
		s.addresses = append(s.addresses, address)
	}
	for i, l := range open {
		s.serving.Go(func() {
			if err := serve[i](l); !errors.Is(err, smpserver.ErrShutdown) {
				s.failed <- err
			}
		})
	}
	return nil
}

// open opens one listener and says what clients dial.
func (s *Server) open(addr, host string, plain bool) (net.Listener, string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrListen, err)
	}
	tcp := l.Addr().(*net.TCPAddr)
	to := smp.Server{Port: uint16(tcp.Port), Plain: plain}
	switch {
	case !plain:
		to.Host, to.KeyHash = s.host(host, tcp), s.front.KeyHash()
	case tcp.IP.IsLoopback():
		to.Host = tcp.IP.String()
	default:
		err = fmt.Errorf("%w: smp2020_plain: %w", ErrConfig, smpserver.ErrNotLoopback)
	}
	if _, perr := smp.ParseServer(to.String()); err == nil && perr != nil {
		err = fmt.Errorf("%w: %q cannot stand as host in an address", ErrConfig, to.Host)
	}
	if err != nil {
		l.Close()
		return nil, "", err
	}
	return l, to.String(), nil
}

// host is what stands in the address for clients.
func (s *Server) host(given string, listening *net.TCPAddr) string {
	switch {
	case given != "":
		return given
	case !listening.IP.IsUnspecified():
		return listening.IP.String()
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	s.log.Warn("listening on every interface; if clients know this machine by another name, give it with --host", "host", name)
	return name
}
