package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"parley"
	"parley/carrier/relay"
)

// maxAnswer bounds an answer in bytes. Our relay's have at most 8 MiB of contents or one
// message; the original's have no bound.
const maxAnswer = 64 << 20

// A statusError is a refusal of a relay.
type statusError struct {
	code  int
	said  string
	apiV1 bool // the path is unknown to it: the original's relay
}

func (e *statusError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("the relay answers with status %d", e.code)
	}
	return "the relay answers: " + e.said
}

// Unwrap says which of the contract's errors it is.
func (e *statusError) Unwrap() error {
	switch {
	case e.apiV1: // there may be another relay tomorrow
		return parley.ErrDenied
	case e.code == http.StatusUnauthorized || e.code == http.StatusForbidden || e.code == http.StatusConflict:
		return parley.ErrDenied
	case e.code == http.StatusTooManyRequests || e.code == http.StatusInsufficientStorage:
		return parley.ErrFull
	case e.code >= 500:
		return parley.ErrOffline
	}
	return parley.ErrRefused
}

// call makes one request, whose body is a form or an object, and reads the answer.
func (c *Client) call(ctx context.Context, a relay.Address, token, method, path string, body any, wait time.Duration, answer any) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	ctx, cancel := c.while(ctx)
	defer cancel()
	ctx, end := context.WithTimeoutCause(ctx, c.o.Timeout+wait, errSilent)
	defer end()
	var r io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case url.Values:
		r, kind = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return err
		}
		r, kind = bytes.NewReader(j), "application/json"
	}
	q, err := http.NewRequestWithContext(ctx, method, a.URL()+path, r)
	if err != nil {
		return fmt.Errorf("%w: %w", parley.ErrRefused, err)
	}
	if kind != "" {
		q.Header.Set("Content-Type", kind)
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(q)
	if err != nil {
		return c.broken(ctx, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return c.broken(ctx, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("%w: the relay's answer is too long", parley.ErrOffline)
	}
	if resp.StatusCode != http.StatusOK {
		e := &statusError{code: resp.StatusCode, apiV1: resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed}
		var f relay.Failure
		if json.Unmarshal(b, &f) == nil && len(f.Message) <= 200 {
			e.said = printable(f.Message)
		}
		return e
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("%w: what answers there is no relay of One Time Chat", parley.ErrOffline)
	}
	return nil
}

// printable keeps what a relay says to plain text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, s)
}

var (
	errSilent = errors.New("the relay does not answer in time")
	// ErrClosed is what a client that was closed answers.
	ErrClosed = errors.New("the client is closed")
)

// broken says what kind of trouble a request without an answer is.
func (c *Client) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errSilent) {
		return cause
	}
	if errors.Is(err, parley.ErrRefused) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, in which names are
	}
	return fmt.Errorf("%w: %w", parley.ErrOffline, err)
}
