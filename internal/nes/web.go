package nes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/coder/websocket"

	"parley/carrier/mqtt"
)

// A Where is a broker and, if it is reached over WebSocket (MQTT 3.1.1 §6), the
// address of that, without user and password.
type Where struct {
	mqtt.Broker
	Web *url.URL
}

// parseWeb reads ws:// and wss:// addresses. What follows the ? is the broker's own.
func parseWeb(s string) (Where, error) {
	bad := Errorf(Usage, "the broker's address is not ws://[USER[:PASSWORD]@]HOST[:PORT][/PATH] or wss://…")
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Fragment != "" || u.RawQuery != "" {
		return Where{}, bad
	}
	port := map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	if u.Port() != "" {
		port = u.Port()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Where{}, bad
	}
	w := Where{Broker: mqtt.Broker{Host: u.Hostname(), Port: uint16(n)}}
	if u.User != nil {
		w.User = u.User.Username()
		w.Password, _ = u.User.Password()
		if w.User == "" {
			return Where{}, bad
		}
	}
	u.User = nil
	w.Web = u
	return w, nil
}

// Address returns where the broker is, and no word on who we are.
func (w Where) Address() string {
	if w.Web != nil {
		return w.Web.String()
	}
	return w.Broker.Address()
}

// Private reports whether nobody on the way can read along.
func (w Where) Private() bool {
	return w.TLS || w.Loopback() || w.Web != nil && w.Web.Scheme == "wss"
}

// shown is the broker for people: without its password.
func (w Where) shown() string {
	user := ""
	if w.User != "" {
		if user = url.User(w.User).String() + "@"; w.Password != "" {
			user = url.User(w.User).String() + ":***@"
		}
	}
	switch {
	case w.Web != nil:
		return w.Web.Scheme + "://" + user + w.Web.Host + w.Web.EscapedPath()
	case w.TLS:
		return "ssl://" + user + w.HostPort()
	}
	return "tcp://" + user + w.HostPort()
}

// dialWeb connects to a broker over WebSocket; the session above it is as any other.
func (w Where) dialWeb(ctx context.Context, _, _ string) (net.Conn, error) {
	c, resp, err := websocket.Dial(ctx, w.Web.String(), &websocket.DialOptions{
		Subprotocols: []string{"mqtt"}, CompressionMode: websocket.CompressionDisabled,
		HTTPClient: &http.Client{Transport: &http.Transport{Proxy: nil}},
	})
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("the broker's web server answers with %s", resp.Status)
		}
		return nil, err
	}
	if c.Subprotocol() != "mqtt" {
		c.CloseNow()
		return nil, fmt.Errorf("%s speaks no MQTT over WebSocket", w.Web.Host)
	}
	c.SetReadLimit(-1) // packets are bounded above, and frames are read piece by piece
	return websocket.NetConn(context.Background(), c, websocket.MessageBinary), nil
}
