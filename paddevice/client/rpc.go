package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"parley"
	"parley/paddevice"
)

// RPC is a client of the original's RPC. It is at most once: a reply that is lost is
// lost, and so is its pad.
type RPC struct {
	url  string
	http *http.Client
}

// maxRPC is the longest reply that is read, in bytes.
const maxRPC = 64 << 20

// NewRPC takes what the original's client takes for a device: a port on this machine,
// HOST:PORT, or an http URL. The error is [parley.ErrMalformed].
func NewRPC(address string) (*RPC, error) {
	base := address
	if _, err := strconv.ParseUint(address, 10, 16); err == nil {
		base = "http://localhost:" + address
	} else if !strings.Contains(address, "://") {
		base = "http://" + address
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: a pad device is PORT, HOST:PORT or http://HOST:PORT", parley.ErrMalformed)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &RPC{u.String(), &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, IdleConnTimeout: idleTimeout,
	}}}, nil
}

// URL is the device's address.
func (r *RPC) URL() string { return r.url }

// call calls a method. Its error is that of the call itself.
func (r *RPC) call(ctx context.Context, result any, method string, args ...any) error {
	body, err := json.Marshal(map[string]any{"method": method, "args": args, "kwargs": map[string]any{}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+paddevice.PathRPC, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: the pad device at %s: %w", parley.ErrOffline, r.url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRPC+1))
	if err != nil || len(b) > maxRPC {
		return fmt.Errorf("%w: the pad device at %s has not answered whole", parley.ErrOffline, r.url)
	}
	var a paddevice.Answer
	if err := json.Unmarshal(b, &a); err != nil {
		return fmt.Errorf("%w: what answers at %s is no pad device (%d)", parley.ErrOffline, r.url, resp.StatusCode)
	}
	if a.Error != "" {
		return paddevice.RPCFailure(a.Error, false)
	}
	if len(a.Return) == 0 {
		return fmt.Errorf("%w: what answers at %s is no pad device (%d)", parley.ErrOffline, r.url, resp.StatusCode)
	}
	if err := json.Unmarshal(a.Return, result); err != nil {
		return fmt.Errorf("%w: the pad device at %s returns what it should not", parley.ErrOffline, r.url)
	}
	return nil
}

// Package returns the package of a message, in base64. What the device says when it
// fails is a [paddevice.Failure], which wraps one of the contract's errors.
func (r *RPC) Package(ctx context.Context, src, dst parley.Name, message string) (string, error) {
	var p paddevice.Packaged
	if err := r.call(ctx, &p, "package", src, dst, message); err != nil {
		return "", err
	}
	if !p.Success {
		return "", paddevice.RPCFailure(p.Error, false)
	}
	return p.Package, nil
}

// An Opened is what unpackage tells. Skip and Reuse may also be set when it fails.
type Opened struct {
	Message     string
	Skip, Reuse bool
}

// Unpackage opens a package that src has sent to dst. With an error there is no message,
// but the flags are true when the device set them.
func (r *RPC) Unpackage(ctx context.Context, src, dst parley.Name, pack string) (o Opened, err error) {
	var u paddevice.Unpackaged
	if err := r.call(ctx, &u, "unpackage", src, dst, pack); err != nil {
		return o, err
	}
	o.Skip, o.Reuse = u.Skip != nil && *u.Skip, u.Reuse != nil && *u.Reuse
	if !u.Success || u.Message == nil {
		return o, paddevice.RPCFailure(u.Error, o.Reuse)
	}
	o.Message = *u.Message
	return o, nil
}

// NextRef returns the number of the first message at a relay that uid has not seen, if
// the device knows one.
func (r *RPC) NextRef(ctx context.Context, uid parley.Name, server string) (ref int64, known bool, err error) {
	var n *int64
	if err := r.call(ctx, &n, "get_next_ref", uid, server); err != nil || n == nil {
		return 0, false, err
	}
	return *n, true, nil
}

// SaveNextRef has the device remember it.
func (r *RPC) SaveNextRef(ctx context.Context, uid parley.Name, server string, ref int64) error {
	var ignored any
	return r.call(ctx, &ignored, "save_next_ref", uid, server, ref)
}
