package server

// appendConnack appends a CONNACK; props are those of MQTT 5, encoded.
func appendConnack(b []byte, version byte, present bool, c code, props []byte) []byte {
	flag := byte(0)
	if present {
		flag = 1
	}
	if version != v5 {
		return append(b, pConnack<<4, 2, flag, oldConnack(c))
	}
	b = append(b, pConnack<<4)
	b = appendVarint(b, 2+varintLen(len(props))+len(props))
	b = append(b, flag, byte(c))
	return append(appendVarint(b, len(props)), props...)
}

// oldConnack is the return code of MQTT 3.1.1 (§3.2.2.3) for a reason.
func oldConnack(c code) byte {
	switch c {
	case success:
		return 0
	case badVersion:
		return 1
	case badClientID:
		return 2
	case badLogin:
		return 4
	case notAuthorized, badTopic, badAuthMethod:
		return 5
	}
	return 3
}

// appendAnswer appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func appendAnswer(b []byte, kind, version byte, id uint16, c code, reason string) []byte {
	first := kind << 4
	if kind == pPubrel {
		first |= 2
	}
	if version != v5 || c == success {
		return append(b, first, 2, byte(id>>8), byte(id))
	}
	if reason == "" {
		return append(b, first, 3, byte(id>>8), byte(id), byte(c))
	}
	n := 3 + len(reason)
	b = append(b, first)
	b = appendVarint(b, 3+varintLen(n)+n)
	b = append(appendU16(b, id), byte(c))
	return appendText(append(appendVarint(b, n), propReason), reason)
}

// appendCodes appends a SUBACK or UNSUBACK.
func appendCodes(b []byte, kind, version byte, id uint16, codes []code) []byte {
	n := 2
	if version == v5 {
		n++
	}
	if version == v5 || kind == pSuback {
		n += len(codes)
	}
	b = appendU16(appendVarint(append(b, kind<<4), n), id)
	if version == v5 {
		b = append(b, 0)
	} else if kind == pUnsuback {
		return b
	}
	for _, c := range codes {
		if version != v5 && c >= unspecified {
			c = unspecified // MQTT 3.1.1 §3.9.3 knows no other
		}
		b = append(b, byte(c))
	}
	return b
}

// appendDisconnect appends the DISCONNECT of MQTT 5.
func appendDisconnect(b []byte, c code) []byte { return append(b, pDisconnect<<4, 2, byte(c), 0) }

// A delivery is how one subscriber gets a message.
type delivery struct {
	qos    byte
	dup    bool
	retain bool
	id     uint16
	subIDs []uint32
	left   uint32 // seconds until the message expires, if it does
}

// appendPublish appends a PUBLISH.
func appendPublish(b []byte, version byte, m *body, d *delivery) []byte {
	first := byte(pPublish<<4) | d.qos<<1
	if d.dup {
		first |= 8
	}
	if d.retain {
		first |= 1
	}
	n := 2 + len(m.topic) + len(m.payload)
	if d.qos > 0 {
		n += 2
	}
	props := 0
	if version == v5 {
		props = propertiesLen(m, d)
		n += varintLen(props) + props
	}
	b = appendVarint(append(b, first), n)
	b = append(appendU16(b, uint16(len(m.topic))), m.topic...)
	if d.qos > 0 {
		b = appendU16(b, d.id)
	}
	if version == v5 {
		b = appendVarint(b, props)
		if m.expires != 0 {
			b = appendU32(append(b, propMessageExpiry), d.left)
		}
		for _, id := range d.subIDs {
			b = appendVarint(append(b, propSubscriptionID), int(id))
		}
		b = append(b, m.props...)
	}
	return append(b, m.payload...)
}

func propertiesLen(m *body, d *delivery) int {
	n := len(m.props)
	if m.expires != 0 {
		n += 5
	}
	for _, id := range d.subIDs {
		n += 1 + varintLen(int(id))
	}
	return n
}

// publishLen is how long appendPublish makes the whole packet.
func publishLen(version byte, m *body, d *delivery) int {
	n := 2 + len(m.topic) + len(m.payload)
	if d.qos > 0 {
		n += 2
	}
	if version == v5 {
		p := propertiesLen(m, d)
		n += varintLen(p) + p
	}
	return 1 + varintLen(n) + n
}
