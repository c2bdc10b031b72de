package client

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"parley/keydir"
)

// Timeout is how long one request may take unless the options say otherwise.
const Timeout = 10 * time.Second

var (
	// ErrAddress means that a text is no address of a directory.
	ErrAddress = errors.New("not an address of a key directory: http://HOST[:PORT][/PATH] or https://…")
	// ErrNoUser means that the directory has no active account of that name. Its text
	// is the original client's.
	ErrNoUser = errors.New("user not found")
	// ErrUnreachable means that the directory did not answer, or not as one does.
	ErrUnreachable = errors.New("the key directory cannot be reached")
	// ErrUnbound means that an answer does not say whose keys it has, although this
	// directory's answers do: it may be another user's.
	ErrUnbound = errors.New("the answer does not say whose keys it has")
	// ErrNoLog means that the directory keeps no key log, as those of the original's kind.
	ErrNoLog = errors.New("this directory keeps no key log")
	// ErrFar means that an answer's entry has more than [MaxWalk] entries after it: that
	// it stands in the log, and is the last of its name, was not verified.
	ErrFar = errors.New("the entry is too far back in the log to be verified here: parley keydir audit does")
	// ErrTwice means that an audit is to find one user with two fingerprints.
	ErrTwice = errors.New("a user is named twice, with different fingerprints")
	// ErrNoRotation means that the directory cannot replace keys.
	ErrNoRotation = errors.New("this directory cannot replace keys")
)

// Options say which directory, and how to ask it.
type Options struct {
	// URL is the directory's address, http or https; it may have a path.
	URL string
	// Key is what its answers are signed with. Nil means that it is fetched from
	// URL/key at first use: the caller pins what [Client.Key] returns.
	Key *rsa.PublicKey
	// Unbound accepts answers without a name, of directories of the original's kind,
	// until one with a name has come or they turn out to keep a log. Any user's answer could then be passed off as
	// any other's, which only pins notice. [Provider.Binds] says when not to.
	Unbound bool

	Timeout time.Duration     // of one request; 0 means [Timeout]
	HTTP    http.RoundTripper // nil: a transport of its own, which uses no proxy
	Now     func() time.Time  // nil: the clock

	// Progress is told how many of how many entries an audit has verified, once a page.
	Progress func(verified, size int64)

	again time.Duration // before a contradiction is looked at again; 0 means againPause
}

// A Client asks one directory. It is safe for concurrent use; Close lets its idle
// connections go.
type Client struct {
	base    string // without a slash at the end
	host    string
	o       Options
	http    *http.Client
	own     *http.Transport // nil if the caller's
	binding atomic.Bool     // an answer with a name has come, or it keeps a log
	logless atomic.Bool     // it was asked and keeps none

	mu  sync.Mutex
	key *rsa.PublicKey
}

// New makes a client; it asks nobody yet. The error is [ErrAddress].
func New(o Options) (*Client, error) {
	u, err := ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = Timeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.again == 0 {
		o.again = againPause
	}
	c := &Client{base: u.String(), host: u.Scheme + "://" + u.Host, o: o, key: o.Key}
	rt := o.HTTP
	if rt == nil {
		c.own = transport(o.Timeout)
		rt = c.own
	}
	c.http = &http.Client{Transport: rt, Timeout: o.Timeout, CheckRedirect: c.redirect}
	return c, nil
}

// ParseURL checks a directory's address and returns it in its canonical form: without
// a slash at the end. The error is [ErrAddress] and repeats nothing of the text.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" {
		return nil, ErrAddress
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, fmt.Errorf("%w: without user, ? and #", ErrAddress)
	}
	u.Host = strings.ToLower(u.Host)
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// URL returns the directory's address without a slash at the end.
func (c *Client) URL() string { return c.base }

// Close lets idle connections go. Requests that are under way end by themselves.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Key returns the key that the directory's answers are signed with: the one of the
// options or, fetched once, the one that it offers at /key.
func (c *Client) Key(ctx context.Context) (*rsa.PublicKey, error) {
	c.mu.Lock()
	key := c.key
	c.mu.Unlock()
	if key != nil {
		return key, nil
	}
	key, err := c.fetchKey(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key == nil {
		c.key = key
	}
	return c.key, nil
}

// Lookup asks for a user's keys and verifies the answer. Errors are
// [keydir.ErrUsername], before anything is asked; [ErrNoUser]; [ErrUnreachable];
// [ErrUnbound], also for an answer without a name from a directory that keeps a log,
// which is asked once; and those of [keydir.ParseAnswer].
func (c *Client) Lookup(ctx context.Context, user string) (keydir.Answer, keydir.Keys, error) {
	fail := func(err error) (keydir.Answer, keydir.Keys, error) { return keydir.Answer{}, keydir.Keys{}, err }
	// The name comes from whoever wrote a message: it goes into a path only if it is one.
	if err := keydir.CheckUsername(user); err != nil {
		return fail(err)
	}
	key, err := c.Key(ctx)
	if err != nil {
		return fail(err)
	}
	status, body, err := c.get(ctx, "/users/"+user, keydir.MaxBody)
	switch {
	case err != nil:
		return fail(err)
	case status == http.StatusNotFound:
		return fail(ErrNoUser)
	case status != http.StatusOK:
		return fail(unexpected(status))
	}
	return c.answer(ctx, body, key, user)
}

func (c *Client) answer(ctx context.Context, body []byte, key *rsa.PublicKey, user string) (keydir.Answer, keydir.Keys, error) {
	a, k, err := keydir.ParseAnswer(body, key, user, c.o.Now())
	if err != nil {
		return keydir.Answer{}, keydir.Keys{}, err
	}
	if a.Bound() {
		c.binding.Store(true)
	} else if err := c.mayBeUnbound(ctx); err != nil {
		return keydir.Answer{}, keydir.Keys{}, err
	}
	return a, k, nil
}

// mayBeUnbound is [ErrUnbound] if this directory's answers have names. Who keeps a log
// does so for named users.
func (c *Client) mayBeUnbound(ctx context.Context) error {
	if !c.o.Unbound || c.binding.Load() {
		return ErrUnbound
	}
	if c.logless.Load() {
		return nil
	}
	status, _, err := c.get(ctx, "/log/head", keydir.MaxBody)
	switch {
	case err != nil:
		return err
	case status == http.StatusOK:
		c.binding.Store(true)
		return ErrUnbound
	case status < 400 || status >= 500:
		return unexpected(status)
	}
	c.logless.Store(true)
	return nil
}
