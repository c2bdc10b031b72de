package relay

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"parley"
)

var (
	tokenA = NewToken([32]byte{1})
	tokenB = NewToken([32]byte{2})
)

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"otc://localhost:9050":                                  "",
		"otc://127.0.0.1:1/alice":                               "",
		"otcs://Relay.Example:443/al%20ice?from=b%26b":          "otcs://relay.example:443/al%20ice?from=b%26b",
		"otc://[::1]:9050/a?open":                               "",
		"otc://[0:0::1]:9050/a?open&from=b":                     "otc://[::1]:9050/a?from=b&open",
		"otc://h:1/a?receive=" + tokenB + "&send=" + tokenA:     "otc://h:1/a?send=" + tokenA + "&receive=" + tokenB,
		"otc://h:1/%C3%BC":                                      "",
		"otc://h:1/a%2Fb":                                       "",
		"otc://h:1/a/b":                                         "otc://h:1/a%2Fb",
		"otcs://h:65535/x?from=y&send=" + tokenA:                "",
		"otc://under_score.h:80/" + strings.Repeat("x", MaxUID): "",
	} {
		if want == "" {
			want = text
		}
		a, err := ParseAddress(parley.Address(text))
		if err != nil || a.String() != want {
			t.Errorf("%s: %s, %v", text, a, err)
			continue
		}
		if again, err := ParseAddress(a.Parley()); err != nil || again != a {
			t.Errorf("%s: again %+v, %v", text, again, err)
		}
	}
	for _, text := range []string{
		"", "otc", "otc:", "otc://", "http://h:1/a", "OTC://h:1/a", "otc://h", "otc://h:/a", "otc://h:0/a", "otc://h:65536/a", "otc://h:01/a", "otc://h:x/a",
		"otc://:1/a", "otc://u@h:1/a", "otc://u:p@h:1/a", "otc://h:1/", "otc://h:1?from=b", "otc://h:1/a?", "otc://h:1/a?from=", "otc://h:1/a?from",
		"otc://h:1/a?from=b&from=c", "otc://h:1/a?open=1", "otc://h:1/a?open&open", "otc://h:1/a?x=y", "otc://h:1/a?send=x", "otc://h:1/a?send=",
		"otc://h:1/a?open&send=" + tokenA, "otc://h:1/a?open&receive=" + tokenA, "otc://h:1/a?send=" + tokenA + "&send=" + tokenA, "otc://h:1/a?send=" + tokenA + "=",
		"otc://h:1/a#b", "otc://h:1/%zz", "otc://h:1/%00", "otc://h:1/%ff", "otc://h:1/" + strings.Repeat("x", MaxUID+1), "otc://[h]:1/a", "otc://[::1:1/a",
		"otc://[fe80::1%25eth0]:1/a", "otc://::1:1/a", "otc://-h:1/a", "otc://h..x:1/a", "otc://h h:1/a", "otc://h:1/a\x00", "otc://" + strings.Repeat("h", 3000) + ":1/a",
	} {
		if a, err := ParseAddress(parley.Address(text)); !errors.Is(err, errAddress) {
			t.Errorf("%q: %+v, %v", text, a, err)
		} else if len(text) > 20 && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats %q", text)
		}
	}
	a, _ := ParseAddress("otcs://[::1]:9050/a?open")
	if a.URL() != "https://[::1]:9050" || a.Server().String() != "otcs://[::1]:9050" {
		t.Errorf("%s, %s", a.URL(), a.Server())
	}
}

func TestQuestion(t *testing.T) {
	for _, q := range []Question{
		{Recipient: "a b&c", Start: 7, Most: -1},
		{Recipient: "ü", Most: 0, From: "=", Waits: true, Wait: 60 * time.Second},
	} {
		if got, err := ParseQuestion(q.Query()); err != nil || got != q {
			t.Errorf("%+v: %+v, %v", q, got, err)
		}
	}
	for _, s := range []string{"", "+1", "-0", "1.0", "0x1", " 1", "1_000", "9223372036854775808"} {
		if n, err := ParseRef(s); err == nil {
			t.Errorf("%q is %d", s, n)
		}
	}
}

func TestPackets(t *testing.T) {
	for _, s := range []string{"A", "AAA", "AAAB=", "AA=A", "AAAA\n", "AB==", "AAAA====", "-_-_", " AAAA"} {
		if b, ok := Decode(s); ok {
			t.Errorf("%q is %x", s, b)
		}
	}
	if b, ok := Decode(Encode([]byte("\x00\xff"))); !ok || string(b) != "\x00\xff" {
		t.Errorf("%x", b)
	}
	var q ClaimRequest
	if err := DecodeRequest([]byte(`{"recipient_uid":"a","receive":"`+strings.Repeat("aB", 32)+`"}`), &q); err != nil || q.Receive[0] != 0xab || q.Send != nil {
		t.Errorf("%+v, %v", q, err)
	}
	h := HashToken(tokenA)
	b, err := json.Marshal(ClaimRequest{Recipient: "a", Receive: &h, Send: &h})
	if err != nil || DecodeRequest(b, &q) != nil || *q.Send != h {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("otcs://relay.example:443/a%20b?from=c&open")
	f.Add("otc://[::1]:1/a?send=" + tokenA + "&receive=" + tokenB)
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(parley.Address(text))
		if err != nil {
			return
		}
		again, err := ParseAddress(a.Parley())
		if err != nil || again != a {
			t.Fatalf("%q: %+v, then %+v, %v", text, a, again, err)
		}
	})
}

func FuzzForms(f *testing.F) {
	f.Add("recipient_uid=bob&sender_uid=a&contents=AA%3D%3D")
	f.Add("recipient_uid=bob&start_ref=0&maxcount=1&wait=2&from=x")
	f.Add(`{"recipient_uid":"a","refs":[1],"sums":["0000000000000000"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if q, err := ParseQuestion(text); err == nil {
			if again, err := ParseQuestion(q.Query()); err != nil || again != q {
				t.Fatalf("%q: %+v, then %+v, %v", text, q, again, err)
			}
		}
		if m, err := ParseSend(text); err == nil && (CheckUID(m.Recipient) != nil || CheckUID(m.Sender) != nil) {
			t.Fatalf("%q: %+v", text, m)
		}
		ParseNextRef(text)
		ParseMischief(text)
		for _, v := range []any{new(SendRequest), new(ClaimRequest), new(DoneRequest)} {
			DecodeRequest([]byte(text), v)
		}
		if b, ok := Decode(text); ok && Encode(b) != text {
			t.Fatalf("%q is contents, and %q too", text, Encode(b))
		}
	})
}
