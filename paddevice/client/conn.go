package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"parley"
	"parley/paddevice"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	maxConns    = 8
)

// conn is the paired channel to one device.
type conn struct {
	url  string
	http *http.Client
}

func (p *Pairing) connect() (*conn, error) {
	cfg, err := paddevice.TLSConfig(p.Key, func(fp paddevice.Fingerprint) error {
		if fp != p.Device {
			return fmt.Errorf("%w: what answers at %s is not the pad device that was paired: its key is another", parley.ErrUntrusted, p.Address)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &conn{"https://" + p.Address, &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: cfg, TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: idleTimeout,
			DialContext:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
			MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxConns, MaxResponseHeaderBytes: 16 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c *conn) close() { c.http.CloseIdleConnections() }

// do asks once. A person may have to answer first, so only ctx bounds the time.
func (c *conn) do(ctx context.Context, path string, q *paddevice.Request) (*paddevice.Reply, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, paddevice.MaxRequest+1))
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	r := &paddevice.Reply{}
	if len(b) > paddevice.MaxRequest || json.Unmarshal(b, r) != nil {
		return nil, fmt.Errorf("%w: the pad device at %s gives an answer (%d) that is none", parley.ErrOffline, c.url, resp.StatusCode)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: the pad device at %s answers with %d", parley.ErrOffline, c.url, resp.StatusCode)
	}
	return r, nil
}

// lost sorts what keeps a request from being answered: the caller's own end, a device
// that is another, or none that answers.
func (c *conn) lost(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, parley.ErrUntrusted):
		return err
	}
	return fmt.Errorf("%w: the pad device at %s: %w", parley.ErrOffline, c.url, err)
}
