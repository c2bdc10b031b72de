package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

// The relay of One Time Chat over TLS, beside nothing else; it leaves nothing of clients
// in the log, and what it took is there after a restart.
func TestOTC(t *testing.T) {
	var log bytes.Buffer
	dir := t.TempDir()
	certFile, keyFile, pool := certificateFiles(t, dir, 1)
	cfg := Config{Data: filepath.Join(dir, "data"), OTC: "127.0.0.1:0", OTCTLSCert: certFile, OTCTLSKey: keyFile}
	for range 2 {
		s, err := Start(cfg, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		if err != nil {
			t.Fatal(err)
		}
		host, ok := strings.CutPrefix(s.Addresses()[0], "otcs://127.0.0.1:")
		if len(s.Addresses()) != 1 || !ok {
			t.Fatalf("%q", s.Addresses())
		}
		if code, said := fetch(t, "https://127.0.0.1:"+host+"/check", pool); code != 200 || strings.TrimSpace(said) != `{"status":"ok"}` {
			t.Errorf("%d %s", code, said)
		}
		if code, _ := fetch(t, "https://127.0.0.1:"+host+"/getnextref?recipient_uid=secret-name", pool); code != 200 {
			t.Error(code)
		}
		if code, _ := fetch(t, "https://127.0.0.1:"+host+"/mischief", pool); code != 404 {
			t.Errorf("mischief without the flag: %d", code)
		}
		shutdown(t, s)
	}
	if log.Len() > 0 {
		t.Errorf("the log:\n%s", log.String())
	}
	cfg.Mischief, cfg.OTCTLSCert, cfg.OTCTLSKey = true, "", ""
	s, err := Start(cfg, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer shutdown(t, s)
	if code, _ := fetch(t, "http"+strings.TrimPrefix(s.Addresses()[0], "otc")+"/mischief", nil); code != 200 {
		t.Error(code)
	}
	if !strings.Contains(log.String(), "mischief is on") {
		t.Errorf("the log:\n%s", log.String())
	}
}

func TestOTCConfig(t *testing.T) {
	dir := t.TempDir()
	for what, change := range map[string]func(c *Config){
		"address":           func(c *Config) { c.OTC = "here" },
		"certificate alone": func(c *Config) { c.OTCTLSCert = "x" },
		"no certificate":    func(c *Config) { c.OTCTLSCert, c.OTCTLSKey = dir+"/none", dir+"/none" },
		"proxy":             func(c *Config) { c.OTCProxy = []string{"10.0.0.0/99"} },
		"negative limit":    func(c *Config) { c.OTCLimits.Mailboxes = -1 },
		"long contents":     func(c *Config) { c.OTCLimits.Contents = 1 << 30 },
		"mischief alone":    func(c *Config) { c.OTC, c.Mischief = "", true },
		"metrics alone":     func(c *Config) { c.OTC, c.OTCMetrics = "", true },
		"host":              func(c *Config) { c.Host = "a/b" },
	} {
		c := Config{Data: filepath.Join(dir, "data"), OTC: "127.0.0.1:0"}
		change(&c)
		s, err := Start(c, slog.New(slog.DiscardHandler))
		if err == nil {
			s.Shutdown(context.Background())
		}
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
