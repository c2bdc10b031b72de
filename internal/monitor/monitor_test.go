package monitor

import (
	"errors"
	"net"
	"net/http/httptest"
	"syscall"
	"testing"

	"parley/internal/groupdb"
)

func TestWriteHealth(t *testing.T) {
	secret := errors.New("/var/lib/secret: damaged")
	for _, x := range []struct {
		read, write error
		code        int
		said        string
	}{
		{nil, nil, 200, "ok\n"},
		{secret, nil, 503, "the database does not answer\n"},
		{secret, secret, 503, "the database does not answer\n"},
		{nil, secret, 503, "the database cannot be written\n"},
		{nil, groupdb.DiskFault(syscall.ENOSPC), 503, "the database cannot be written: the disk is full\n"},
	} {
		rec := httptest.NewRecorder()
		WriteHealth(rec, x.read, x.write)
		if rec.Code != x.code || rec.Body.String() != x.said {
			t.Errorf("%v, %v: %d %q", x.read, x.write, rec.Code, rec.Body)
		}
	}
}

func TestWriteMetrics(t *testing.T) {
	rec := httptest.NewRecorder()
	WriteMetrics(rec, "parley_x_", []Metric{Counter("mails_total", "Mails sent.", 7), Gauge("users", "Users.", -1)})
	const want = "# HELP parley_x_mails_total Mails sent.\n# TYPE parley_x_mails_total counter\nparley_x_mails_total 7\n" +
		"# HELP parley_x_users Users.\n# TYPE parley_x_users gauge\nparley_x_users -1\n"
	if rec.Code != 200 || rec.Body.String() != want || rec.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("%d %v\n%s", rec.Code, rec.Header(), rec.Body)
	}
}

func TestIsLocal(t *testing.T) {
	for i, x := range []struct {
		from, host string
		header     []string
		want       bool
	}{
		{"127.0.0.1", "127.0.0.1", nil, true},
		{"127.9.9.9", "LOCALHOST", nil, true},
		{"::1", "[::1]:8080", nil, true},
		{"::1", "[::1]", nil, true},
		{"::ffff:127.0.0.1", "localhost", nil, true},
		{"127.0.0.1", "keys.example", nil, false}, // through a proxy, or from a page of elsewhere
		{"127.0.0.1", "localhost.evil", nil, false},
		{"127.0.0.1", "", nil, false},
		{"::1", "[::1%lo]", nil, false},
		{"192.0.2.1", "localhost", nil, false},
		{"", "localhost", nil, false},
		{"127.0.0.1", "localhost", []string{"X-Forwarded-For", "127.0.0.1"}, false},
		{"127.0.0.1", "localhost", []string{"X-Forwarded-For", ""}, false},
		{"127.0.0.1", "localhost", []string{"X-Forwarded-Host", "x"}, false},
		{"127.0.0.1", "localhost", []string{"x-forwarded-proto", "https"}, false},
		{"127.0.0.1", "localhost", []string{"Forwarded", "for=127.0.0.1"}, false},
		{"127.0.0.1", "localhost", []string{"Via", "1.1 x"}, false},
		{"127.0.0.1", "localhost", []string{"X-Real-IP", "127.0.0.1"}, false},
		{"127.0.0.1", "localhost", []string{"X-Other", "x"}, true},
	} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Host, r.RemoteAddr = x.host, net.JoinHostPort(x.from, "1234")
		for i := 0; i+1 < len(x.header); i += 2 {
			r.Header.Set(x.header[i], x.header[i+1])
		}
		if got := IsLocal(r); got != x.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}
