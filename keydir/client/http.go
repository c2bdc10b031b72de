package client

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// maxText is how much of a directory's own words about a refusal is passed on.
const maxText = 200

// A RefusedError is a directory's refusal in its own words: text from somebody else,
// to be cleaned before it is shown. Where the words are one of the original's, it is
// that error ([keydir.ErrTaken] and so on).
type RefusedError struct {
	Status int
	Text   string // without a line end; at most 200 bytes
}

func (e *RefusedError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the key directory refused with status %d", e.Status)
	}
	return e.Text
}

// Is reports whether target is the error with the same words.
func (e *RefusedError) Is(target error) bool {
	switch target {
	case keydir.ErrTaken, keydir.ErrUsername, keydir.ErrEmail, keydir.ErrSameKey, keydir.ErrDecodeKey, keydir.ErrProof:
		return strings.HasPrefix(e.Text, target.Error())
	}
	return false
}

// transport returns one that goes straight to the directory, with a bound on each
// step.
func transport(timeout time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                  nil, // who asks for whose keys is nobody's business on the way
		DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		IdleConnTimeout:        time.Minute,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 32 << 10,
		ForceAttemptHTTP2:      true,
	}
}

// redirect follows a directory within itself only.
func (c *Client) redirect(r *http.Request, via []*http.Request) error {
	if r.URL.Scheme+"://"+strings.ToLower(r.URL.Host) != c.host || len(via) > 3 || via[0].Method != http.MethodGet {
		return errors.New("it sends elsewhere")
	}
	return nil
}

func (c *Client) get(ctx context.Context, path string, limit int64) (status int, body []byte, err error) {
	return c.do(ctx, http.MethodGet, path, nil, limit)
}

func (c *Client) post(ctx context.Context, path string, send []byte) (status int, body []byte, err error) {
	return c.do(ctx, http.MethodPost, path, send, keydir.MaxBody)
}

// do makes one request. A body longer than limit is an error.
func (c *Client) do(ctx context.Context, method, path string, send []byte, limit int64) (int, []byte, error) {
	resp, err := c.request(ctx, method, path, send)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return 0, nil, unreachable(ctx, err)
	}
	if int64(len(body)) > limit {
		return 0, nil, fmt.Errorf("%w: an answer of more than %d bytes", keydir.ErrMalformed, limit)
	}
	return resp.StatusCode, body, nil
}

func (c *Client) request(ctx context.Context, method, path string, send []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(send))
	if err != nil {
		return nil, ErrAddress
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "parley")
	if send != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxText))
		resp.Body.Close()
		return nil, &busyError{after: retryAfter(resp), text: refused(resp.StatusCode, text).Error()}
	}
	return resp, nil
}

// A busyError is a directory that has had too many requests from here.
type busyError struct {
	after time.Duration
	text  string // its own words
}

func (e *busyError) Error() string {
	return ErrUnreachable.Error() + ": it has had too many requests: " + e.text
}

func (*busyError) Unwrap() error { return ErrUnreachable }

// retryAfter is when a directory wants to be asked again: 1 s unless it says, at
// most 1 min.
func retryAfter(r *http.Response) time.Duration {
	n, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if err != nil || n < 1 {
		n = 1
	}
	return min(time.Duration(n)*time.Second, time.Minute)
}

// unreachable says why a request failed. Who gave up is told that and no more.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%w: no answer in time", ErrUnreachable)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func unexpected(status int) error {
	return fmt.Errorf("%w: it answers with status %d", ErrUnreachable, status)
}

// refused makes an error of a refusal.
func refused(status int, body []byte) error {
	text := strings.TrimSpace(strings.ToValidUTF8(string(body), "\uFFFD"))
	if i := strings.IndexAny(text, "\r\n"); i >= 0 {
		text = text[:i]
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	return &RefusedError{Status: status, Text: text}
}

func (c *Client) fetchKey(ctx context.Context) (*rsa.PublicKey, error) {
	status, body, err := c.get(ctx, "/key", rsakey.MaxPEM)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound:
		return nil, fmt.Errorf("%w: this directory does not offer its key: it must be given as a file", ErrUnreachable)
	case status != http.StatusOK:
		return nil, unexpected(status)
	}
	key, err := rsakey.ParsePublic(body)
	if err != nil {
		return nil, fmt.Errorf("%w: the directory's key: %w", keydir.ErrMalformed, err)
	}
	return key, nil
}
