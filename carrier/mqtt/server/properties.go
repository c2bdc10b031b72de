package server

// Identifiers of properties (MQTT 5 §2.2.2.2).
const (
	propPayloadFormat   = 1
	propMessageExpiry   = 2
	propContentType     = 3
	propResponseTopic   = 8
	propCorrelation     = 9
	propSubscriptionID  = 11
	propSessionExpiry   = 17
	propAssignedID      = 18
	propServerKeepAlive = 19
	propAuthMethod      = 21
	propAuthData        = 22
	propRequestProblem  = 23
	propWillDelay       = 24
	propRequestResponse = 25
	propReason          = 31
	propReceiveMaximum  = 33
	propAliasMaximum    = 34
	propAlias           = 35
	propUser            = 38
	propMaximumPacket   = 39
	propSharedAvailable = 42
)

// in makes a set of the packets where a property may stand.
func in(kinds ...byte) (set uint32) {
	for _, k := range kinds {
		set |= 1 << k
	}
	return set
}

// allowed says where clients may send which property.
var allowed = [64]uint32{
	propPayloadFormat:   in(pPublish, inWill),
	propMessageExpiry:   in(pPublish, inWill),
	propContentType:     in(pPublish, inWill),
	propResponseTopic:   in(pPublish, inWill),
	propCorrelation:     in(pPublish, inWill),
	propSubscriptionID:  in(pSubscribe),
	propSessionExpiry:   in(pConnect, pDisconnect),
	propAuthMethod:      in(pConnect, pAuth),
	propAuthData:        in(pConnect, pAuth),
	propRequestProblem:  in(pConnect),
	propWillDelay:       in(inWill),
	propRequestResponse: in(pConnect),
	propReason:          in(pPuback, pPubrec, pPubrel, pPubcomp, pDisconnect, pAuth),
	propReceiveMaximum:  in(pConnect),
	propAliasMaximum:    in(pConnect),
	propAlias:           in(pPublish),
	propUser: in(pConnect, pPublish, inWill, pPuback, pPubrec, pPubrel, pPubcomp, pSubscribe, pUnsubscribe,
		pDisconnect, pAuth),
	propMaximumPacket: in(pConnect),
}

// properties are what a client said beside the packet itself.
type properties struct {
	seen           uint64 // bit n: property n is there
	messageExpiry  uint32 // seconds
	sessionExpiry  uint32 // seconds
	willDelay      uint32 // seconds
	maximumPacket  uint32
	subscriptionID uint32
	receiveMaximum uint16
	alias          uint16
	noProblem      bool   // wants no reason strings
	pass           []byte // those that travel with a message, as they came
}

func (p *properties) has(id byte) bool { return p.seen&(1<<id) != 0 }

// properties reads those of a packet of the given kind.
func (r *reader) properties(kind byte) (p properties) {
	n := r.varint()
	all := reader{b: r.take(n)}
	if r.err != nil {
		return p
	}
	for len(all.b) > 0 && all.err == nil {
		before := all.b
		id := all.u8()
		if id >= 64 || allowed[id] == 0 {
			all.fail(malformed)
		} else if allowed[id]&(1<<kind) == 0 || p.has(id) && id != propUser {
			all.fail(protocolError)
		} else {
			p.seen |= 1 << id
			p.read(&all, id, kind)
			if all.err == nil && (kind == pPublish || kind == inWill) && travels(id) {
				p.pass = append(p.pass, before[:len(before)-len(all.b)]...)
			}
		}
	}
	if all.err != nil {
		r.b, r.err = nil, all.err
	}
	return p
}

// travels reports whether a property belongs to the message (MQTT 5 §3.3.2.3);
// its expiry and the subscriber's identifiers are written anew for each.
func travels(id byte) bool {
	switch id {
	case propPayloadFormat, propContentType, propResponseTopic, propCorrelation, propUser:
		return true
	}
	return false
}

func (p *properties) read(r *reader, id, kind byte) {
	flag := func() byte {
		b := r.u8()
		if b > 1 {
			r.fail(protocolError)
		}
		return b
	}
	positive := func(n uint32) uint32 {
		if n == 0 {
			r.fail(protocolError)
		}
		return n
	}
	switch id {
	case propPayloadFormat, propRequestResponse:
		flag()
	case propRequestProblem:
		p.noProblem = flag() == 0
	case propMessageExpiry:
		p.messageExpiry = r.u32()
	case propContentType, propAuthMethod, propReason:
		r.text()
	case propResponseTopic:
		if t := r.text(); r.err == nil && checkTopic(t) != nil {
			r.fail(protocolError)
		}
	case propCorrelation, propAuthData:
		r.data()
	case propSubscriptionID:
		p.subscriptionID = positive(uint32(r.varint()))
	case propSessionExpiry:
		p.sessionExpiry = r.u32()
	case propWillDelay:
		p.willDelay = r.u32()
	case propReceiveMaximum:
		p.receiveMaximum = uint16(positive(uint32(r.u16())))
	case propAliasMaximum:
		r.u16() // ours to use, and we send none
	case propAlias:
		if p.alias = r.u16(); p.alias == 0 && r.err == nil {
			r.fail(badAlias)
		}
	case propUser:
		r.text()
		r.text()
	case propMaximumPacket:
		p.maximumPacket = positive(r.u32())
	}
}
