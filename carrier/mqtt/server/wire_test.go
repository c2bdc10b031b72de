package server

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	five "github.com/eclipse/paho.golang/packets"
)

// cat joins bytes and strings; a string has its length before it.
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = appendText(b, p)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func TestReadHeader(t *testing.T) {
	for _, x := range []struct {
		in   []byte
		n    int
		want error
	}{
		{[]byte{0xc0, 0}, 0, nil},
		{[]byte{0x30, 0x80, 0}, 0, nil}, // a field of fixed width
		{[]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, maxRemaining, nil},
		{[]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x00}, 0, malformed},
		{[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x00}, 0, malformed},
		{[]byte{0x30, 0x80}, 0, io.ErrUnexpectedEOF},
		{[]byte{0x30}, 0, io.ErrUnexpectedEOF},
		{nil, 0, io.EOF},
	} {
		_, n, err := readHeader(bufio.NewReader(bytes.NewReader(x.in)))
		if n != x.n || !errors.Is(err, x.want) {
			t.Errorf("% x: %d, %v; want %d, %v", x.in, n, err, x.n, x.want)
		}
	}
}

func TestParseConnectRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":                     {nil, malformed},
		"another protocol":          {cat("HTTP", 4, 2, 0, 0, "x"), protocolError},
		"old name, new version":     {cat("MQIsdp", 4, 2, 0, 0, "x"), badVersion},
		"version 6":                 {cat("MQTT", 6, 2, 0, 0, 0, "x"), badVersion},
		"version 3 with a new name": {cat("MQTT", 3, 2, 0, 0, "x"), badVersion},
		"reserved flag":             {cat("MQTT", 4, 3, 0, 0, "x"), malformed},
		"will QoS without will":     {cat("MQTT", 4, 2|8, 0, 0, "x"), malformed},
		"will retain without will":  {cat("MQTT", 4, 2|0x20, 0, 0, "x"), malformed},
		"will QoS 3":                {cat("MQTT", 4, 2|4|0x18, 0, 0, "x", "t", "p"), malformed},
		"will topic with wildcard":  {cat("MQTT", 4, 2|4, 0, 0, "x", "t/#", "p"), badTopic},
		"will topic empty":          {cat("MQTT", 4, 2|4, 0, 0, "x", "", "p"), badTopic},
		"password without user":     {cat("MQTT", 4, 2|0x40, 0, 0, "x", "p"), malformed},
		"no will where one is said": {cat("MQTT", 4, 2|4, 0, 0, "x"), malformed},
		"no user where one is said": {cat("MQTT", 4, 2|0x80, 0, 0, "x"), malformed},
		"more than there should be": {cat("MQTT", 4, 2, 0, 0, "x", 1), malformed},
		"client ID not UTF-8":       {cat("MQTT", 4, 2, 0, 0, "\xff"), malformed},
		"client ID with NUL":        {cat("MQTT", 4, 2, 0, 0, "a\x00b"), malformed},
		"client ID surrogate":       {cat("MQTT", 4, 2, 0, 0, "\xed\xa0\x80"), malformed},
		"5 without properties":      {cat("MQTT", 5, 2, 0, 0), malformed},
		"properties overrun":        {cat("MQTT", 5, 2, 0, 0, 99, "x"), malformed},
		"unknown property":          {cat("MQTT", 5, 2, 0, 0, 2, 99, 0, "x"), malformed},
		"property of a PUBLISH":     {cat("MQTT", 5, 2, 0, 0, 3, propAlias, 0, 1, "x"), protocolError},
		"property twice":            {cat("MQTT", 5, 2, 0, 0, 6, propReceiveMaximum, 0, 1, propReceiveMaximum, 0, 1, "x"), protocolError},
		"receive maximum 0":         {cat("MQTT", 5, 2, 0, 0, 3, propReceiveMaximum, 0, 0, "x"), protocolError},
		"packet size 0":             {cat("MQTT", 5, 2, 0, 0, 5, propMaximumPacket, 0, 0, 0, 0, "x"), protocolError},
		"a flag of 2":               {cat("MQTT", 5, 2, 0, 0, 2, propRequestProblem, 2, "x"), protocolError},
		"property cut off":          {cat("MQTT", 5, 2, 0, 0, 2, propReceiveMaximum, 0, "x"), malformed},
		"length not the shortest":   {cat("MQTT", 5, 2, 0, 0, 0x80, 0, "x"), malformed},
		"data without a method":     {cat("MQTT", 5, 2, 0, 0, 3, propAuthData, 0, 0, "x"), protocolError},
	} {
		if p, err := parseConnect(x.in); err != x.want {
			t.Errorf("%s: %+v, %v; want %v", name, p, err, x.want)
		}
	}
}

func TestParseConnect(t *testing.T) {
	for name, in := range map[string][]byte{
		"3.1":                       cat("MQIsdp", 3, 2, 0, 0, "x"),
		"3.1.1":                     cat("MQTT", 4, 2, 0, 0, "x"),
		"everything in 3.1.1":       cat("MQTT", 4, 0xf6, 0, 60, "x", "will", "", "user", "pass"),
		"password without user, 5":  cat("MQTT", 5, 2|0x40, 0, 0, 0, "x", "pass"),
		"an empty password":         cat("MQTT", 4, 0xc2, 0, 0, "x", "user", ""),
		"user properties, the same": cat("MQTT", 5, 2, 0, 0, 14, propUser, "a", "b", propUser, "a", "b", "x"),
	} {
		if p, err := parseConnect(in); err != nil || p.client != "x" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestParsePublishRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		first byte
		v     byte
		in    []byte
		want  error
	}{
		"QoS 3":                   {0x36, 4, cat("t", 0, 1), malformed},
		"a duplicate of QoS 0":    {0x38, 4, cat("t"), malformed},
		"identifier 0":            {0x32, 4, cat("t", 0, 0), protocolError},
		"no identifier":           {0x32, 4, cat("t"), malformed},
		"plus in the topic":       {0x30, 4, cat("a/+"), badTopic},
		"hash in the topic":       {0x30, 5, cat("a/#", 0), badTopic},
		"no topic":                {0x30, 4, cat(""), badTopic},
		"no topic, no alias":      {0x30, 5, cat("", 0), protocolError},
		"alias 0":                 {0x30, 5, cat("t", 3, propAlias, 0, 0), badAlias},
		"topic not UTF-8":         {0x30, 4, cat("\xc0\x80"), malformed},
		"topic cut off":           {0x30, 4, []byte{0, 9, 't'}, malformed},
		"a subscription's ID":     {0x30, 5, cat("t", 2, propSubscriptionID, 1), protocolError},
		"payload format 2":        {0x30, 5, cat("t", 2, propPayloadFormat, 2), protocolError},
		"response topic wildcard": {0x30, 5, cat("t", 4, propResponseTopic, "#"), protocolError},
		"properties overrun":      {0x30, 5, cat("t", 3, propContentType, "long"), malformed},
	} {
		if p, err := parsePublish(x.first, x.in, x.v); err != x.want {
			t.Errorf("%s: %+v, %v; want %v", name, p, err, x.want)
		}
	}
	// What travels with a message is kept as it came, and nothing else is.
	props := cat(propAlias, 0, 7, propUser, "k", "v", propMessageExpiry, 0, 0, 0, 9, propCorrelation, "", propPayloadFormat, 1)
	p, err := parsePublish(0x30, cat("t", len(props), props, []byte("data")), 5)
	want := cat(propUser, "k", "v", propCorrelation, "", propPayloadFormat, 1)
	if err != nil || !bytes.Equal(p.props.pass, want) || p.props.alias != 7 || p.props.messageExpiry != 9 || string(p.payload) != "data" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestParseOthersRefuse(t *testing.T) {
	for name, x := range map[string]struct {
		kind, v byte
		in      []byte
		want    error
	}{
		"answer without identifier":    {pPuback, 4, nil, malformed},
		"answer to identifier 0":       {pPuback, 4, cat(0, 0), protocolError},
		"answer with more, 3.1.1":      {pPuback, 4, cat(0, 1, 0), malformed},
		"answer with a strange prop":   {pPuback, 5, cat(0, 1, 0, 2, propAlias, 1), protocolError},
		"subscribe to nothing":         {pSubscribe, 4, cat(0, 1), protocolError},
		"subscribe with identifier 0":  {pSubscribe, 4, cat(0, 0, "t", 0), protocolError},
		"subscribe without options":    {pSubscribe, 5, cat(0, 1, 0, "t"), malformed},
		"subscribe, options, 3.1.1":    {pSubscribe, 4, cat(0, 1, "t", 4), malformed},
		"subscribe, reserved options":  {pSubscribe, 5, cat(0, 1, 0, "t", 0x40), malformed},
		"subscribe, QoS 3":             {pSubscribe, 5, cat(0, 1, 0, "t", 3), malformed},
		"subscribe, retain handling 3": {pSubscribe, 5, cat(0, 1, 0, "t", 0x30), malformed},
		"subscribe, subscription ID 0": {pSubscribe, 5, cat(0, 1, 2, propSubscriptionID, 0, "t", 0), protocolError},
		"subscribe, two of them":       {pSubscribe, 5, cat(0, 1, 4, propSubscriptionID, 1, propSubscriptionID, 1, "t", 0), protocolError},
		"unsubscribe from nothing":     {pUnsubscribe, 5, cat(0, 1, 0), protocolError},
		"unsubscribe, not UTF-8":       {pUnsubscribe, 5, cat(0, 1, 0, "\xff"), malformed},
		"disconnect with more, 3.1.1":  {pDisconnect, 4, cat(0), malformed},
		"disconnect, receive maximum":  {pDisconnect, 5, cat(0, 3, propReceiveMaximum, 0, 1), protocolError},
		"disconnect, properties torn":  {pDisconnect, 5, cat(0, 5, propSessionExpiry, 0, 1), malformed},
		"disconnect, something behind": {pDisconnect, 5, cat(0, 0, 0), malformed},
	} {
		var err error
		switch x.kind {
		case pSubscribe, pUnsubscribe:
			_, err = parseSubscribe(x.kind, x.in, x.v)
		case pDisconnect:
			_, _, err = parseDisconnect(x.in, x.v)
		default:
			_, err = parseAnswer(x.kind, x.in, x.v)
		}
		if err != x.want {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

// What we encode, other people's code decodes to the same.
func TestEncodeAgainstAnother(t *testing.T) {
	user := cat(propUser, "k", "v", propUser, "k", "w", propResponseTopic, "re", propCorrelation, "\x00\x01")
	for _, x := range []struct {
		m body
		d delivery
	}{
		{body{topic: "a/b", payload: []byte("hello")}, delivery{}},
		{body{topic: "a", expires: 5, props: user, payload: bytes.Repeat([]byte("x"), 20_000)}, delivery{qos: 2, dup: true, retain: true, id: 65535, subIDs: []uint32{268_435_455}, left: 7}},
		{body{topic: strings.Repeat("t/", 100)}, delivery{qos: 1, id: 1, retain: true}},
	} {
		b := appendPublish(nil, v5, &x.m, &x.d)
		if len(b) != publishLen(v5, &x.m, &x.d) {
			t.Errorf("publishLen %d, is %d", publishLen(v5, &x.m, &x.d), len(b))
		}
		cp, err := five.ReadPacket(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		p := cp.Content.(*five.Publish)
		if p.Topic != x.m.topic || !bytes.Equal(p.Payload, x.m.payload) || p.QoS != x.d.qos || p.PacketID != x.d.id || p.Duplicate != x.d.dup || p.Retain != x.d.retain {
			t.Errorf("%+v became %+v", x, p)
		}
		if x.m.props != nil {
			want := []five.User{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}}
			if !reflect.DeepEqual(p.Properties.User, want) || p.Properties.ResponseTopic != "re" || *p.Properties.MessageExpiry != 7 || *p.Properties.SubscriptionIdentifier != 268_435_455 {
				t.Errorf("properties %v", p.Properties)
			}
		}
		if old := appendPublish(nil, v311, &x.m, &x.d); len(old) != publishLen(v311, &x.m, &x.d) {
			t.Errorf("publishLen 3.1.1 %d, is %d", publishLen(v311, &x.m, &x.d), len(old))
		}
	}
}

func TestBodyRoundTrip(t *testing.T) {
	for _, b := range []body{{topic: "t", expires: -1, props: []byte{}, payload: []byte{}}, {topic: "t/ü", expires: 1 << 60, props: []byte{1, 2}, payload: []byte("data")}} {
		v := b.pack(nil)
		if len(v) != b.size() {
			t.Errorf("size %d, is %d", b.size(), len(v))
		}
		got, err := unpackBody(v)
		if err != nil || !reflect.DeepEqual(*got, b) {
			t.Errorf("%+v became %+v, %v", b, got, err)
		}
		for n := range len(v) - len(b.payload) {
			if _, err := unpackBody(v[:n]); !errors.Is(err, errRecord) {
				t.Errorf("the first %d bytes are a body too: %v", n, err)
			}
		}
	}
}

// FuzzParse parses anything as any packet.
func FuzzParse(f *testing.F) {
	f.Add(byte(0x10), byte(5), cat("MQTT", 5, 2, 0, 0, 3, propReceiveMaximum, 0, 1, "x"))
	f.Add(byte(0x32), byte(5), cat("t", 0, 1, 3, propAlias, 0, 1, []byte("payload")))
	f.Add(byte(0x82), byte(5), cat(0, 1, 2, propSubscriptionID, 1, "a/+/#", 0x2d))
	f.Add(byte(0xe0), byte(5), cat(4, 5, propSessionExpiry, 0, 0, 0, 1))
	f.Fuzz(func(t *testing.T, first, v byte, b []byte) {
		switch kind := first >> 4; kind {
		case pConnect:
			parseConnect(b)
		case pPublish:
			p, err := parsePublish(first, b, v)
			if err == nil && p.topic != "" {
				x := newBody(&p, 1)
				if got, err := unpackBody(x.pack(nil)); err != nil || got.topic != x.topic || !bytes.Equal(got.payload, x.payload) || !bytes.Equal(got.props, x.props) {
					t.Errorf("%+v became %+v, %v", x, got, err)
				}
				d := delivery{qos: p.qos, id: p.id}
				out := appendPublish(nil, v5, x, &d)
				r := bufio.NewReader(bytes.NewReader(out))
				f2, n, err := readHeader(r)
				if err != nil || n != r.Buffered() {
					t.Fatalf("header %d of %d: %v", n, r.Buffered(), err)
				}
				rest, _ := io.ReadAll(r)
				again, err := parsePublish(f2, rest, v5)
				if err != nil || again.topic != p.topic || !bytes.Equal(again.payload, p.payload) {
					t.Errorf("%+v became %+v, %v", p, again, err)
				}
			}
		case pSubscribe, pUnsubscribe:
			parseSubscribe(kind, b, v)
		case pDisconnect:
			parseDisconnect(b, v)
		default:
			parseAnswer(kind, b, v)
		}
	})
}
