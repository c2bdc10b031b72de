package server

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"parley/carrier/relay"
	otcserver "parley/carrier/relay/server"
)

// otcName is the folder of One Time Chat's relay in the data folder.
const otcName = "otc"

// OTCLimits bounds what clients can make the relay of One Time Chat do and hold.
type OTCLimits struct {
	Contents            Size     `toml:"contents"`
	Bytes               Size     `toml:"bytes"`
	MailboxMessages     int      `toml:"mailbox_messages"`
	MailboxBytes        Size     `toml:"mailbox_bytes"`
	Mailboxes           int      `toml:"mailboxes"`
	RequestsPerSecond   int      `toml:"requests_per_second"`
	RequestBurst        int      `toml:"request_burst"`
	NewMailboxesPerHour int      `toml:"new_mailboxes_per_hour"`
	NewMailboxBurst     int      `toml:"new_mailbox_burst"`
	Connections         int      `toml:"connections"`
	ConnectionsPerHost  int      `toml:"connections_per_host"`
	Waiting             int      `toml:"waiting"`
	AnswerMessages      int      `toml:"answer_messages"`
	AnswerBytes         Size     `toml:"answer_bytes"`
	MessageTTL          Duration `toml:"message_ttl"`
	MailboxTTL          Duration `toml:"mailbox_ttl"`
	Header              Duration `toml:"header"`
	Read                Duration `toml:"read"`
	Write               Duration `toml:"write"`
	Idle                Duration `toml:"idle"`
}

func (l *OTCLimits) limits() otcserver.Limits {
	return otcserver.Limits{
		Contents: int(l.Contents), Bytes: int64(l.Bytes), MailboxMessages: l.MailboxMessages, MailboxBytes: int64(l.MailboxBytes),
		Mailboxes: l.Mailboxes, RequestsPerSecond: l.RequestsPerSecond, RequestBurst: l.RequestBurst,
		NewMailboxesPerHour: l.NewMailboxesPerHour, NewMailboxBurst: l.NewMailboxBurst,
		Connections: l.Connections, ConnectionsPerHost: l.ConnectionsPerHost, Waiting: l.Waiting,
		AnswerMessages: l.AnswerMessages, AnswerBytes: int(l.AnswerBytes),
		MessageTTL: time.Duration(l.MessageTTL), MailboxTTL: time.Duration(l.MailboxTTL),
		Header: time.Duration(l.Header), Read: time.Duration(l.Read), Write: time.Duration(l.Write), Idle: time.Duration(l.Idle),
	}
}

// checkOTC reports what is wrong with the settings of One Time Chat's relay.
func (c *Config) checkOTC() error {
	if c.OTC == "" {
		for _, x := range []struct {
			name  string
			given bool
		}{
			{"otc_tls_cert", c.OTCTLSCert != ""}, {"otc_tls_key", c.OTCTLSKey != ""}, {"otc_proxy", len(c.OTCProxy) > 0},
			{"otc_metrics", c.OTCMetrics}, {"mischief", c.Mischief},
		} {
			if x.given {
				return fmt.Errorf("%w: %s is given, but no otc", ErrConfig, x.name)
			}
		}
		return nil
	}
	if (c.OTCTLSCert == "") != (c.OTCTLSKey == "") {
		return fmt.Errorf("%w: otc_tls_cert and otc_tls_key go together", ErrConfig)
	}
	if n := c.OTCLimits.Contents; n > 64<<20 {
		return fmt.Errorf("%w: otc_limits.contents must be at most 64MiB", ErrConfig)
	}
	_, err := proxies("otc_proxy", c.OTCProxy)
	return err
}

// proxies reads IP addresses and networks.
func proxies(setting string, texts []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("%w: %s: %q is neither an IP address nor a network such as 10.0.0.0/8", ErrConfig, setting, text)
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		all = append(all, p)
	}
	return all, nil
}

// openOTC opens the relay of One Time Chat, if an address for it is given.
func (s *Server) openOTC(cfg *Config, fronts int, trouble *trouble) error {
	if cfg.OTC == "" {
		return nil
	}
	believed, err := proxies("otc_proxy", cfg.OTCProxy)
	if err != nil {
		return err
	}
	if cfg.OTCTLSCert != "" {
		if s.otcCert, err = newFileCertificate(cfg.OTCTLSCert, cfg.OTCTLSKey, trouble); err != nil {
			return fmt.Errorf("%w: otc_tls_cert and otc_tls_key: %w", ErrConfig, err)
		}
		s.otcCert.of = "the relay of One Time Chat"
	}
	limits := cfg.OTCLimits.limits()
	if limits.Connections == 0 {
		limits.Connections = otcserver.DefaultLimits().Connections
	}
	limits.Connections = connections(limits.Connections, fronts, s.log)
	if s.otc, err = otcserver.New(otcserver.Options{
		Dir: filepath.Join(cfg.Data, otcName), Mischief: cfg.Mischief, Metrics: cfg.OTCMetrics,
		Proxies: believed, Limits: limits, Trouble: trouble.report,
	}); err != nil {
		return err
	}
	if cfg.Mischief {
		s.log.Warn("mischief is on: whoever reaches the relay of One Time Chat can drop and change messages; it is for tests alone")
	}
	return nil
}

// otcAddress is the address of the relay at its listener.
func (s *Server) otcAddress(cfg *Config, tcp *net.TCPAddr) (string, error) {
	a := relay.Address{TLS: s.otcCert != nil, Host: s.host(cfg.Host, tcp), Port: uint16(tcp.Port)}
	if !a.TLS && !tcp.IP.IsLoopback() && len(cfg.OTCProxy) == 0 {
		s.log.Warn("the relay of One Time Chat is served in clear on a listener that others can reach: tokens of mailboxes can be read on the way; give otc_tls_cert, or listen on a loopback address behind a proxy with TLS")
	}
	parsed, err := relay.ParseAddress(a.Parley())
	if err != nil {
		return "", fmt.Errorf("%w: %q cannot stand as host in an address", ErrConfig, a.Host)
	}
	return parsed.String(), nil
}
