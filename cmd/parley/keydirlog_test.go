package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

func generated(t *testing.T) (p client.Private) {
	t.Helper()
	m, err := rsakey.Generate(rsakey.MinBits)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rsakey.Generate(rsakey.MinBits)
	if err != nil {
		t.Fatal(err)
	}
	return client.Private{Message: m, Sign: s}
}

// The log of a real directory makes sense to an audit: keys published, replaced,
// removed, and published again by who takes the name.
func TestKeydirLifeInTheLog(t *testing.T) {
	d, first, second := newKeyDirectory(t), generated(t), generated(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.New(client.Options{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n, p := range []client.Private{first, second} {
		if err := c.Register(ctx, "dora", "dora@example.test", p); err != nil {
			t.Fatal(err)
		}
		links := d.mailed(ctx, "dora", n+1)
		d.press(links[0])
		if n == 0 {
			if _, _, err := c.Rotate(ctx, "dora", first.Sign, generated(t)); err != nil {
				t.Fatal(err)
			}
			d.press(links[1])
		}
	}
	code, out := startProc(t, program(t, "parley"), "", "--json", "keydir", "audit", "dora", "--provider", d.url).end()
	var r client.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || !r.Findings[0].Agrees {
		t.Fatalf("%d, %v\n%s", code, err, out)
	}
	var got []string
	for _, f := range r.Findings[0].Touches {
		got = append(got, f.Action)
	}
	if s := strings.Join(got, " "); s != "published rotated removed published" {
		t.Errorf("%s", s)
	}
}

// A hugeDirectory says that many entries follow the one of alice, or that it has no
// log at all.
func hugeDirectory(t *testing.T, log bool) (url string) {
	t.Helper()
	p, now := generated(t), time.Now()
	k, err := p.Keys()
	if err != nil {
		t.Fatal(err)
	}
	line := (&keydir.Entry{
		Seq: 1, Time: now.UnixMilli(), Action: keydir.Published, Name: keydir.NameHash("alice"), Version: 1,
		MessageKey: rsakey.Of(k.Message).Hex(), SignKey: rsakey.Of(k.Sign).Hex(), Prev: keydir.NoHash,
	}).Line()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b []byte
		switch {
		case r.URL.Path == "/key":
			b = rsakey.EncodePublic(k.Sign)
		case r.URL.Path == "/users/alice":
			b, _ = (&keydir.Answer{
				MessageKey: string(rsakey.EncodePublic(k.Message)), SignKey: string(rsakey.EncodePublic(k.Sign)),
				Username: "alice", Version: 1, Issued: now.UnixMilli(), Expires: now.Add(time.Hour).UnixMilli(), LogSeq: 1, LogHash: keydir.Hash(line),
			}).Sign(p.Sign)
		case r.URL.Path == "/log/head" && log:
			b, _ = keydir.Head{Size: 2 + client.MaxWalk, Hash: keydir.Hash(nil), Time: now.UnixMilli()}.Sign(p.Sign)
		case r.URL.Path == "/log" && log:
			b = append(bytes.Clone(line), '\n')
		default:
			http.NotFound(w, r)
		}
		w.Write(b)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestKeydirShowFollowsTheLog(t *testing.T) {
	p := startProc(t, program(t, "parley"), "", "keydir", "show", "alice", "--provider", hugeDirectory(t, true))
	if code, out := p.end(); code != 0 || !strings.Contains(out, "version 1, entry 1") || !strings.Contains(p.text(), client.ErrFar.Error()) {
		t.Errorf("%d\n%s", code, p.text())
	}
	p = startProc(t, program(t, "parley"), "", "keydir", "show", "alice", "--provider", hugeDirectory(t, false))
	if code, out := p.end(); code != exitMismatch || strings.Contains(out, "version 1") || !strings.Contains(p.text(), "there is no log") {
		t.Errorf("%d\n%s", code, p.text())
	}
}

func TestAuditProgress(t *testing.T) {
	for size, want := range map[int64]string{
		longLog - 1:    "",
		longLog + 1000: "\r10000 of 11000 entries verified\r11000 of 11000 entries verified\n",
	} {
		var b bytes.Buffer
		tell, done := progressLine(&b)
		tell(10_000, size)
		if size > longLog {
			tell(size, size)
		}
		done()
		if b.String() != want {
			t.Errorf("%d: %q", size, b.String())
		}
	}
	if tell, done := auditProgress(io.Discard, false); tell != nil {
		t.Error("it tells no terminal")
	} else {
		done()
	}
}
