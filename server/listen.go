package server

import (
	"errors"
	"fmt"
	"net"
	"os"

	"parley/carrier/mqtt"
	mqttserver "parley/carrier/mqtt/server"
	otcserver "parley/carrier/relay/server"
	"parley/carrier/smp"
	smpserver "parley/carrier/smp/server"
	keydirserver "parley/keydir/server"
)

// A door is one listener: where, how clients write its address, and who serves it.
type door struct {
	addr    string
	address func(*net.TCPAddr) (string, error)
	wrap    func(net.Listener) net.Listener // nil: as it is
	serve   func(net.Listener) error
}

// listen opens all listeners before any of them accepts.
func (s *Server) listen(cfg *Config) error {
	var doors []door
	if s.front != nil {
		encrypted := cfg.SMP2020
		if !cfg.anyListener() {
			encrypted = DefaultListen
		}
		doors = append(doors,
			door{encrypted, func(tcp *net.TCPAddr) (string, error) { return s.smpAddress(cfg.Host, tcp, false) }, nil, s.front.Serve},
			door{cfg.SMP2020Plain, func(tcp *net.TCPAddr) (string, error) { return s.smpAddress(cfg.Host, tcp, true) }, nil, s.front.ServePlain})
	}
	if s.mqtt != nil {
		doors = append(doors,
			door{cfg.MQTT, func(tcp *net.TCPAddr) (string, error) { return s.mqttAddress(cfg, tcp, nil) }, nil, s.mqtt.Serve},
			door{cfg.MQTTTLS, func(tcp *net.TCPAddr) (string, error) { return s.mqttAddress(cfg, tcp, &s.cert) }, s.cert.listener, s.mqtt.Serve})
	}
	if s.keydir != nil {
		at := door{addr: cfg.Keydir, serve: s.keydir.Serve}
		at.address = func(tcp *net.TCPAddr) (string, error) { return s.keydirAddress(cfg, tcp) }
		if s.keydirCert != nil {
			at.wrap = s.keydirCert.listener
		}
		doors = append(doors, at)
	}
	if s.otc != nil {
		at := door{addr: cfg.OTC, serve: s.otc.Serve}
		at.address = func(tcp *net.TCPAddr) (string, error) { return s.otcAddress(cfg, tcp) }
		if s.otcCert != nil {
			at.wrap = s.otcCert.listener
		}
		doors = append(doors, at)
	}
	var open []net.Listener
	var serve []func(net.Listener) error
	for _, d := range doors {
		if d.addr == "" {
			continue
		}
		l, address, err := d.open()
		if err != nil {
			for _, l := range open {
				l.Close()
			}
			return err
		}
		open, serve = append(open, l), append(serve, d.serve)
		s.addresses = append(s.addresses, address)
	}
	for i, l := range open {
		s.serving.Go(func() {
			err := serve[i](l)
			if !errors.Is(err, smpserver.ErrShutdown) && !errors.Is(err, mqttserver.ErrShutdown) && !errors.Is(err, keydirserver.ErrShutdown) && !errors.Is(err, otcserver.ErrShutdown) {
				s.failed <- err
			}
		})
	}
	return nil
}

// open opens the listener and says what clients dial.
func (d *door) open() (net.Listener, string, error) {
	l, err := net.Listen("tcp", d.addr)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrListen, err)
	}
	address, err := d.address(l.Addr().(*net.TCPAddr))
	if err != nil {
		l.Close()
		return nil, "", err
	}
	if d.wrap != nil {
		l = d.wrap(l)
	}
	return l, address, nil
}

func (s *Server) smpAddress(host string, tcp *net.TCPAddr, plain bool) (string, error) {
	to := smp.Server{Port: uint16(tcp.Port), Plain: plain}
	switch {
	case !plain:
		to.Host, to.KeyHash = s.host(host, tcp), s.front.KeyHash()
	case tcp.IP.IsLoopback():
		to.Host = tcp.IP.String()
	default:
		return "", fmt.Errorf("%w: smp2020_plain: %w", ErrConfig, smpserver.ErrNotLoopback)
	}
	if _, err := smp.ParseServer(to.String()); err != nil {
		return "", fmt.Errorf("%w: %q cannot stand as host in an address", ErrConfig, to.Host)
	}
	return to.String(), nil
}

// mqttAddress is an address of the broker; cert is nil without TLS.
func (s *Server) mqttAddress(cfg *Config, tcp *net.TCPAddr, cert *certificate) (string, error) {
	if !tcp.IP.IsLoopback() && cfg.MQTTUsers == "" && !cfg.MQTTAnonymous {
		return "", fmt.Errorf("%w: %s: %w", ErrConfig, tcp, mqttserver.ErrPublic)
	}
	if cert == nil && !tcp.IP.IsLoopback() && cfg.MQTTUsers != "" {
		s.log.Warn("passwords and messages of MQTT travel in clear on a listener that others can reach; mqtt_tls would protect them")
	}
	to := mqtt.Broker{Host: s.host(cfg.Host, tcp), Port: uint16(tcp.Port)}
	if cert != nil {
		to.TLS, to.CertSHA256 = true, cert.pin
	}
	if _, err := mqtt.ParseBroker(to.Address()); err != nil {
		return "", fmt.Errorf("%w: %q cannot stand as host in an address", ErrConfig, to.Host)
	}
	return to.Address(), nil
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
	s.warned.Do(func() {
		s.log.Warn("listening on every interface; if clients know this machine by another name, give it with --host", "host", name)
	})
	return name
}
