package server

import (
	"errors"
	"io"
	"time"
)

// connectMost is how long a CONNECT may be: a will, a user and a password of
// 64 KiB, and some more.
const connectMost = 256 << 10

// begin reads CONNECT and lets the client in. False means that it was not.
func (c *conn) begin() bool {
	defer c.srv.connected(c)
	late := time.Now().Add(c.srv.o.Limits.Connect)
	c.deadline(late)
	c.nc.SetWriteDeadline(late) // TLS writes while it begins
	p, why := c.readConnect()
	if why == nil {
		why = c.admit(p, late)
	}
	if why == nil {
		c.deadline(time.Time{})
		return true
	}
	if reason, ok := why.(code); ok && c.version != 0 {
		c.nc.SetWriteDeadline(late.Add(time.Second))
		c.nc.Write(appendConnack(nil, c.version, false, reason, nil))
	}
	return false
}

func (c *conn) readConnect() (*connect, error) {
	first, n, err := readHeader(c.r)
	if err != nil {
		return nil, err
	}
	if first != pConnect<<4 || n > min(connectMost, c.srv.o.Limits.Packet) {
		return nil, errors.New("no CONNECT") // no protocol to answer in
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	p, err := parseConnect(b)
	if err == nil {
		c.version = p.version
		return &p, nil
	}
	switch {
	case err == badVersion && p.version > v5:
		c.version = v5
	case err == badVersion:
		c.version = v311
	case p.version == v5:
		c.version = v5
	}
	return nil, err
}

// admit checks who the client is and hands the connection to the hub.
func (c *conn) admit(p *connect, late time.Time) error {
	l := &c.srv.o.Limits
	c.client = p.client
	if p.props.has(propAuthMethod) {
		return badAuthMethod
	}
	if p.client == "" {
		if p.version != v5 && !p.clean { // MQTT 3.1.1 §3.1.3.1
			return badClientID
		}
		c.client = assignedID()
	}
	if len(c.client) > l.TopicBytes {
		return badClientID
	}
	if why := c.srv.o.Users.login(p, c.host, late, c.done); why != success {
		return why
	}
	c.user = p.user
	if c.srv.o.Users == nil {
		c.user = "" // names mean nothing without a file
	}
	if w := p.will; w != nil {
		if why := c.mayPublish(w.topic); why != success {
			return why
		}
	}
	c.limits(p)
	h := c.srv.life()
	if h == nil {
		return unavailable
	}
	if why := h.connect(c, p); why != success {
		return why
	}
	return nil
}

// limits takes over what the client says it can bear.
func (c *conn) limits(p *connect) {
	l := &c.srv.o.Limits
	c.window, c.maxPacket, c.noProblem = l.Inflight, maxRemaining, p.props.noProblem
	if n := int(p.props.receiveMaximum); n > 0 {
		c.window = min(c.window, n)
	}
	if n := p.props.maximumPacket; n > 0 {
		c.maxPacket = int(min(n, maxRemaining))
	}
	c.keepAlive = time.Duration(p.keepAlive) * time.Second
	if p.version == v5 && (c.keepAlive == 0 || c.keepAlive > l.KeepAlive) {
		c.keepAlive = l.KeepAlive
		c.serverKeepAlive = uint16(max(1, l.KeepAlive/time.Second))
	}
}

// mayPublish checks the name of a topic that the client publishes to.
func (c *conn) mayPublish(topic string) code {
	l := &c.srv.o.Limits
	switch {
	case len(topic) > l.TopicBytes, levels(topic) > l.TopicLevels, isSystem(topic):
		return badTopic
	case !c.srv.o.Users.mayWrite(c.user, c.client, topic):
		return notAuthorized
	}
	return success
}
