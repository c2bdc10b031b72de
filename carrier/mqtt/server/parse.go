package server

// flags of a CONNECT (MQTT 5 §3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagClean      = 1 << 1
	flagWill       = 1 << 2
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUser       = 1 << 7
)

// A connect is a CONNECT packet.
type connect struct {
	version   byte
	clean     bool
	keepAlive uint16 // seconds
	props     properties
	client    string
	will      *publish
	hasUser   bool
	user      string
	password  []byte
}

// parseConnect parses a CONNECT. An unknown version is badVersion, with the
// version in the result; all that is known of it then is its name.
func parseConnect(b []byte) (c connect, err error) {
	r := reader{b: b}
	name := r.text()
	c.version = r.u8()
	if r.err != nil {
		return c, r.err
	}
	switch {
	case name == "MQIsdp" && c.version == v31:
	case name == "MQTT" && (c.version == v311 || c.version == v5):
	case name == "MQTT" || name == "MQIsdp":
		return c, badVersion
	default:
		return c, protocolError
	}
	flags := r.u8()
	c.clean = flags&flagClean != 0
	c.keepAlive = r.u16()
	qos := flags >> 3 & 3
	will := flags&flagWill != 0
	switch {
	case flags&flagReserved != 0, qos == 3, !will && (qos != 0 || flags&flagWillRetain != 0),
		c.version != v5 && flags&flagPassword != 0 && flags&flagUser == 0: // MQTT 3.1.1 §3.1.2.9
		r.fail(malformed)
	}
	if c.version == v5 {
		c.props = r.properties(pConnect)
		if c.props.has(propAuthData) && !c.props.has(propAuthMethod) {
			r.fail(protocolError)
		}
	}
	c.client = r.text()
	if will {
		w := &publish{qos: qos, retain: flags&flagWillRetain != 0}
		if c.version == v5 {
			w.props = r.properties(inWill)
		}
		w.topic = r.text()
		w.payload = r.data()
		if r.err == nil && checkTopic(w.topic) != nil {
			r.fail(badTopic)
		}
		c.will = w
	}
	if c.hasUser = flags&flagUser != 0; c.hasUser {
		c.user = r.text()
	}
	if flags&flagPassword != 0 {
		c.password = r.data()
	}
	return c, r.end()
}

// A publish is a PUBLISH packet, or a will. Its payload is part of the packet.
type publish struct {
	dup, retain bool
	qos         byte
	id          uint16
	topic       string // empty if an alias stands for it
	props       properties
	payload     []byte
}

func parsePublish(first byte, b []byte, version byte) (p publish, err error) {
	r := reader{b: b}
	p.dup, p.qos, p.retain = first&8 != 0, first>>1&3, first&1 != 0
	if p.qos == 3 || p.qos == 0 && p.dup {
		return p, malformed
	}
	p.topic = r.text()
	if p.qos > 0 {
		p.id = r.packetID()
	}
	if version == v5 {
		p.props = r.properties(pPublish)
	}
	if r.err != nil {
		return p, r.err
	}
	switch {
	case p.topic == "" && p.props.alias == 0 && version == v5:
		return p, protocolError
	case p.topic == "" && p.props.alias != 0:
	case checkTopic(p.topic) != nil:
		return p, badTopic
	}
	p.payload = r.b
	return p, nil
}

// An answer is one of PUBACK, PUBREC, PUBREL and PUBCOMP.
type answer struct {
	id   uint16
	code code
}

func parseAnswer(kind byte, b []byte, version byte) (a answer, err error) {
	r := reader{b: b}
	a.id = r.packetID()
	if version == v5 && len(r.b) > 0 {
		a.code = code(r.u8())
		if len(r.b) > 0 {
			r.properties(kind)
		}
	}
	return a, r.end()
}

// A filter is one entry of a SUBSCRIBE.
type filter struct {
	text              string
	qos               byte
	noLocal           bool
	retainAsPublished bool
	retainHandling    byte // 0 send, 1 send if the subscription is new, 2 don't
}

// A subscribe is a SUBSCRIBE packet, or an UNSUBSCRIBE, whose filters have text only.
type subscribe struct {
	id      uint16
	subID   uint32
	filters []filter
}

func parseSubscribe(kind byte, b []byte, version byte) (s subscribe, err error) {
	r := reader{b: b}
	s.id = r.packetID()
	if version == v5 {
		p := r.properties(kind)
		s.subID = p.subscriptionID
	}
	for r.err == nil && len(r.b) > 0 {
		f := filter{text: r.text()}
		if kind == pSubscribe {
			o := r.u8()
			f.qos, f.noLocal, f.retainAsPublished, f.retainHandling = o&3, o&4 != 0, o&8 != 0, o>>4&3
			if f.qos == 3 || o>>6 != 0 || f.retainHandling == 3 || version != v5 && o>>2 != 0 {
				r.fail(malformed)
			}
		}
		s.filters = append(s.filters, f)
	}
	if r.err == nil && len(s.filters) == 0 {
		r.fail(protocolError)
	}
	return s, r.end()
}

// parseDisconnect returns the reason and the properties of a DISCONNECT.
func parseDisconnect(b []byte, version byte) (c code, p properties, err error) {
	r := reader{b: b}
	if version == v5 && len(r.b) > 0 {
		c = code(r.u8())
		if len(r.b) > 0 {
			p = r.properties(pDisconnect)
		}
	}
	return c, p, r.end()
}
