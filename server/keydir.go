package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"parley/internal/keyfile"
	keydirserver "parley/keydir/server"
)

// keydirName is the directory's folder in the data folder.
const keydirName = "keydir"

// KeydirLimits bounds what clients can make the directory do and hold.
type KeydirLimits struct {
	RegistrationsPerHour int      `toml:"registrations_per_hour"`
	RegistrationBurst    int      `toml:"registration_burst"`
	LookupsPerSecond     int      `toml:"lookups_per_second"`
	LookupBurst          int      `toml:"lookup_burst"`
	MailsPerDay          int      `toml:"mails_per_day"`
	Connections          int      `toml:"connections"`
	ConnectionsPerHost   int      `toml:"connections_per_host"`
	Answers              int      `toml:"answers"`
	Header               Duration `toml:"header"`
	Read                 Duration `toml:"read"`
	Write                Duration `toml:"write"`
	Idle                 Duration `toml:"idle"`
}

func (k *KeydirLimits) limits() keydirserver.Limits {
	return keydirserver.Limits{
		RegistrationsPerHour: k.RegistrationsPerHour, RegistrationBurst: k.RegistrationBurst, LookupsPerSecond: k.LookupsPerSecond,
		LookupBurst: k.LookupBurst, MailsPerDay: k.MailsPerDay, Connections: k.Connections, ConnectionsPerHost: k.ConnectionsPerHost,
		Answers: k.Answers, Header: time.Duration(k.Header), Read: time.Duration(k.Read), Write: time.Duration(k.Write), Idle: time.Duration(k.Idle),
	}
}

// checkKeydir reports what is wrong with the directory's settings.
func (c *Config) checkKeydir() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, a...)...)
	}
	if c.Keydir == "" {
		for _, x := range []struct {
			name  string
			given bool
		}{
			{"keydir_url", c.KeydirURL != ""}, {"keydir_key", c.KeydirKey != ""}, {"keydir_tls_cert", c.KeydirTLSCert != ""},
			{"keydir_tls_key", c.KeydirTLSKey != ""}, {"smtp", c.SMTP != ""}, {"smtp_file", c.SMTPFile != ""},
			{"keydir_get_links", c.KeydirGetLinks}, {"keydir_metrics", c.KeydirMetrics}, {"keydir_proxy", len(c.KeydirProxy) > 0},
		} {
			if x.given {
				return bad("%s is given, but no keydir", x.name)
			}
		}
		return nil
	}
	if (c.KeydirTLSCert == "") != (c.KeydirTLSKey == "") {
		return bad("keydir_tls_cert and keydir_tls_key go together")
	}
	if c.SMTP != "" && c.SMTPFile != "" {
		return bad("smtp and smtp_file are both given")
	}
	if c.KeydirURL != "" {
		if !isBaseURL(c.KeydirURL) {
			return bad("keydir_url is not http[s]://HOST[:PORT][/PATH], without user, query, fragment, spaces and other characters that need escapes")
		}
	}
	_, err := c.keydirProxies()
	return err
}

// baseURL is what a URL to put before paths may be (RFC 3986 §3): a host or an IP
// address, and segments that are not empty.
var baseURL = regexp.MustCompile(`^https?://([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*/?$`)

func isBaseURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || !baseURL.MatchString(text) {
		return false
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return false
		}
	}
	for s := range strings.SplitSeq(u.Path, "/") { // which clients take away
		if s == "." || s == ".." {
			return false
		}
	}
	return strings.IndexFunc(u.Path, unicode.IsControl) < 0
}

func (c *Config) keydirProxies() ([]netip.Prefix, error) {
	return proxies("keydir_proxy", c.KeydirProxy)
}

// openKeydir opens the key directory, if an address for it is given.
func (s *Server) openKeydir(cfg *Config, fronts int, trouble *trouble) error {
	if cfg.Keydir == "" {
		return nil
	}
	proxies, err := cfg.keydirProxies()
	if err != nil {
		return err
	}
	mail, err := cfg.mailServer()
	if err != nil {
		return err
	}
	if cfg.KeydirTLSCert != "" {
		if s.keydirCert, err = newFileCertificate(cfg.KeydirTLSCert, cfg.KeydirTLSKey, trouble); err != nil {
			return fmt.Errorf("%w: keydir_tls_cert and keydir_tls_key: %w", ErrConfig, err)
		}
	}
	limits := cfg.KeydirLimits.limits()
	if limits.Connections == 0 {
		limits.Connections = keydirserver.DefaultLimits().Connections
	}
	limits.Connections = connections(limits.Connections, fronts, s.log)
	dir := filepath.Join(cfg.Data, keydirName)
	s.keydir, err = keydirserver.New(keydirserver.Options{
		Dir: dir, KeyFile: cfg.KeydirKey, URL: cfg.KeydirURL, Mail: mail, GetLinks: cfg.KeydirGetLinks, Metrics: cfg.KeydirMetrics,
		Proxies: proxies, Limits: limits, Trouble: trouble.report,
	})
	if cfg.KeydirKey != "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, keyfile.ErrExposed)) {
		err = fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err == nil && mail == nil {
		s.log.Warn("no mail server is given (--smtp): mails of the key directory become files, for you to hand on", "folder", filepath.Join(dir, "mail"))
	}
	return err
}

// mailServer reads the URL of the mail server, from the setting or its file.
func (c *Config) mailServer() (*keydirserver.Mail, error) {
	text := c.SMTP
	if c.SMTPFile != "" {
		b, err := keyfile.Read(c.SMTPFile)
		if err != nil {
			return nil, fmt.Errorf("%w: smtp_file: %w", ErrConfig, err)
		}
		text = strings.TrimSpace(string(b))
		if text == "" {
			return nil, fmt.Errorf("%w: smtp_file: %s is empty", ErrConfig, c.SMTPFile)
		}
	}
	if text == "" {
		return nil, nil
	}
	m, err := keydirserver.ParseMail(text)
	if err != nil {
		return nil, fmt.Errorf("%w: smtp: %w", ErrConfig, err)
	}
	return m, nil
}

// keydirAddress is the base URL of the directory at its listener.
func (s *Server) keydirAddress(cfg *Config, tcp *net.TCPAddr) (string, error) {
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(s.host(cfg.Host, tcp), strconv.Itoa(tcp.Port))}
	if s.keydirCert != nil {
		u.Scheme = "https"
	} else if !tcp.IP.IsLoopback() && len(cfg.KeydirProxy) == 0 {
		s.log.Warn("the key directory is served in clear on a listener that others can reach; give keydir_tls_cert, or listen on a loopback address behind a proxy with TLS")
	}
	if parsed, err := url.Parse(u.String()); err != nil || parsed.Hostname() == "" {
		return "", fmt.Errorf("%w: %q cannot stand as host in an address", ErrConfig, s.host(cfg.Host, tcp))
	}
	if cfg.KeydirURL == "" {
		s.keydir.SetURL(u.String())
	}
	return u.String(), nil
}
