package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
)

// counts are what happened since the start.
type counts struct {
	sent, repeated, asked, claimed, limited, unnoted atomic.Int64
}

// getHealth answers GET /healthz: whether the database answers and can be written.
func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) {
	err := s.store.read(func(c *conn) error { _, err := c.one("SELECT count(*) FROM sqlite_schema"); return err })
	if err != nil {
		s.o.Trouble("the relay of One Time Chat", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	if t := s.store.trouble.Load(); t != nil {
		said := "the database cannot be written"
		if errors.Is(*t, errDiskFull) {
			said += ": " + errDiskFull.Error()
		}
		http.Error(w, said, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// getMetrics answers GET /metrics in the text format of Prometheus, to clients on this
// machine unless the operator lets everybody see it.
func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) {
	if !s.o.Metrics && !isLocal(r) {
		s.refuse(w, http.StatusNotFound, "there is nothing here")
		return
	}
	var boxes, messages, bytes int64
	err := s.store.read(func(c *conn) error {
		return c.each("SELECT mailboxes, messages, bytes FROM total", func(st *sqlite3.Stmt) error {
			boxes, messages, bytes = st.ColumnInt64(0), st.ColumnInt64(1), st.ColumnInt64(2)
			return nil
		})
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	var b strings.Builder
	for _, m := range []struct {
		name, kind, help string
		value            int64
	}{
		{"messages_sent_total", "counter", "Messages taken.", s.counts.sent.Load()},
		{"messages_repeated_total", "counter", "Sendings of messages that were there already.", s.counts.repeated.Load()},
		{"questions_total", "counter", "Questions for messages and numbers.", s.counts.asked.Load()},
		{"claims_total", "counter", "Mailboxes claimed, claims repeated included.", s.counts.claimed.Load()},
		{"rate_limited_total", "counter", "Requests and connections refused by a limit.", s.counts.limited.Load()},
		{"mailboxes", "gauge", "Mailboxes.", boxes},
		{"messages", "gauge", "Messages kept.", messages},
		{"message_bytes", "gauge", "Their size, as the limits count it.", bytes},
		{"waiting", "gauge", "Requests that wait for a message.", int64(s.waiting.count())},
	} {
		fmt.Fprintf(&b, "# HELP parley_otc_%s %s\n# TYPE parley_otc_%s %s\nparley_otc_%s %d\n", m.name, m.help, m.name, m.kind, m.name, m.value)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, b.String())
}

// isLocal reports whether a request comes from this machine and was made for it: it
// names it, and bears no sign of a proxy. A page of elsewhere that a browser here shows
// has another name.
func isLocal(r *http.Request) bool {
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	ip, err := netip.ParseAddr(host)
	named := strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
	return named && remoteIP(r.RemoteAddr).IsLoopback()
}
