package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"parley/server"
)

// gcPercent is how much garbage the process gathers before it collects, unless
// GOGC says otherwise: it holds many small connections, and memory is what
// bounds their number.
const gcPercent = 50

type serveCmd struct {
	Config          string       `type:"path" placeholder:"FILE" help:"Configuration file (TOML); flags override it. 'parleyd config' prints one."`
	Data            string       `type:"path" placeholder:"DIR" help:"Folder of what lasts: keys, queues, MQTT sessions and messages, the key directory; made at the first start."`
	SMP2020         string       `name:"smp2020" placeholder:"HOST:PORT" help:"Accept encrypted SMP-2020 connections here; 127.0.0.1:5223 if no address at all is given."`
	SMP2020Plain    string       `name:"smp2020-plain" placeholder:"HOST:PORT" help:"Accept plain ones here, for telnet: a loopback address."`
	SMP2020Creators string       `name:"smp2020-creators" type:"path" placeholder:"FILE" help:"Public keys of those who may create queues; without it everybody may."`
	MQTT            string       `name:"mqtt" placeholder:"HOST:PORT" help:"Accept MQTT connections here, in clear."`
	MQTTTLS         string       `name:"mqtt-tls" placeholder:"HOST:PORT" help:"Accept MQTT connections over TLS here."`
	MQTTCert        string       `name:"mqtt-cert" type:"path" placeholder:"FILE" help:"Certificate of --mqtt-tls, with its chain (PEM); without it, a self-signed one is made."`
	MQTTKey         string       `name:"mqtt-key" type:"path" placeholder:"FILE" help:"Its key (PEM)."`
	MQTTUsers       string       `name:"mqtt-users" type:"path" placeholder:"FILE" help:"Who may use MQTT and how; without it everybody may, and only on loopback addresses."`
	Keydir          string       `name:"keydir" placeholder:"HOST:PORT" help:"Serve the public-key directory here (docs/keydir.md)."`
	KeydirURL       string       `name:"keydir-url" placeholder:"URL" help:"Where people reach it, for the links in mails; the listener's if not given."`
	KeydirTLSCert   string       `name:"keydir-tls-cert" type:"path" placeholder:"FILE" help:"Its certificate, with its chain (PEM); without it, it speaks plain HTTP."`
	KeydirTLSKey    string       `name:"keydir-tls-key" type:"path" placeholder:"FILE" help:"The certificate's key (PEM)."`
	KeydirKey       string       `name:"keydir-key" type:"path" placeholder:"FILE" help:"The RSA key that it signs with (PEM); made at the first start if not given."`
	KeydirProxy     []string     `name:"keydir-proxy" placeholder:"NET" help:"A proxy whose X-Forwarded-For is believed, such as 127.0.0.1/32; may be repeated."`
	KeydirGetLinks  bool         `name:"keydir-get-links" help:"Let a GET of a mailed link act at once when no browser sends it, as the original does."`
	KeydirMetrics   bool         `name:"keydir-metrics" help:"Let everybody read its /metrics."`
	SMTP            string       `name:"smtp" env:"PARLEYD_SMTP" placeholder:"URL" help:"Its mail server, smtp[s]://USER:PASSWORD@HOST:PORT. Others on this machine can see it here; $PARLEYD_SMTP or --smtp-file hides it."`
	SMTPFile        string       `name:"smtp-file" type:"path" placeholder:"FILE" help:"A file of mode 0600 that holds the mail server's URL."`
	OTC             string       `name:"otc" placeholder:"HOST:PORT" help:"Serve the relay of One Time Chat here (docs/otc-relay.md)."`
	OTCTLSCert      string       `name:"otc-tls-cert" type:"path" placeholder:"FILE" help:"Its certificate, with its chain (PEM); without it, it speaks plain HTTP."`
	OTCTLSKey       string       `name:"otc-tls-key" type:"path" placeholder:"FILE" help:"The certificate's key (PEM)."`
	OTCProxy        []string     `name:"otc-proxy" placeholder:"NET" help:"A proxy whose X-Forwarded-For is believed there; may be repeated."`
	OTCMetrics      bool         `name:"otc-metrics" help:"Let everybody read its /metrics."`
	Mischief        bool         `name:"mischief" help:"Let everybody drop, corrupt, repeat and swap its messages at /mischief. For tests of clients alone."`
	Host            string       `placeholder:"NAME" help:"Host name or IP address in the printed addresses."`
	MemoryLimit     *server.Size `name:"memory-limit" placeholder:"SIZE" help:"What the process should need at most, e.g. 512MiB."`
}

func (s *serveCmd) Run(out io.Writer, log *slog.Logger) error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	// From here on a signal ends the relay in order, also while it starts.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	relay, err := server.Start(cfg, log)
	if err != nil {
		return err
	}
	// In one piece: who waits for the first address may look for the second, too.
	if _, err := io.WriteString(out, strings.Join(relay.Addresses(), "\n")+"\n"); err != nil {
		relay.Shutdown(context.Background())
		return err
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-relay.Failed():
	}
	stop() // a second signal ends it at once
	if e := relay.Shutdown(context.Background()); err == nil {
		err = e
	}
	return err
}

// config reads the file, if any, and lets the flags override it.
func (s *serveCmd) config() (server.Config, error) {
	var cfg server.Config
	if s.Config != "" {
		var err error
		if cfg, err = server.ReadConfig(s.Config); err != nil {
			return cfg, err
		}
	}
	for _, f := range []struct {
		to   *string
		flag string
	}{
		{&cfg.Data, s.Data}, {&cfg.SMP2020, s.SMP2020}, {&cfg.SMP2020Plain, s.SMP2020Plain},
		{&cfg.SMP2020Creators, s.SMP2020Creators}, {&cfg.Host, s.Host},
		{&cfg.MQTT, s.MQTT}, {&cfg.MQTTTLS, s.MQTTTLS}, {&cfg.MQTTCert, s.MQTTCert}, {&cfg.MQTTKey, s.MQTTKey},
		{&cfg.MQTTUsers, s.MQTTUsers},
		{&cfg.Keydir, s.Keydir}, {&cfg.KeydirURL, s.KeydirURL}, {&cfg.KeydirKey, s.KeydirKey},
		{&cfg.KeydirTLSCert, s.KeydirTLSCert}, {&cfg.KeydirTLSKey, s.KeydirTLSKey}, {&cfg.SMTPFile, s.SMTPFile},
		{&cfg.OTC, s.OTC}, {&cfg.OTCTLSCert, s.OTCTLSCert}, {&cfg.OTCTLSKey, s.OTCTLSKey},
	} {
		if f.flag != "" {
			*f.to = f.flag
		}
	}
	if s.SMTPFile != "" && s.SMTP != "" {
		return cfg, fmt.Errorf("%w: --smtp-file and --smtp (or $PARLEYD_SMTP) are both given", server.ErrConfig)
	}
	// One of both comes before what the file has.
	if s.SMTPFile != "" {
		cfg.SMTP = ""
	} else if s.SMTP != "" {
		cfg.SMTP, cfg.SMTPFile = s.SMTP, ""
	}
	if len(s.KeydirProxy) > 0 {
		cfg.KeydirProxy = s.KeydirProxy
	}
	cfg.KeydirGetLinks = cfg.KeydirGetLinks || s.KeydirGetLinks
	cfg.KeydirMetrics = cfg.KeydirMetrics || s.KeydirMetrics
	if len(s.OTCProxy) > 0 {
		cfg.OTCProxy = s.OTCProxy
	}
	cfg.OTCMetrics = cfg.OTCMetrics || s.OTCMetrics
	cfg.Mischief = cfg.Mischief || s.Mischief
	if s.MemoryLimit != nil {
		cfg.MemoryLimit = *s.MemoryLimit
	}
	return cfg, nil
}
