// Package monitor answers what the operator's monitoring asks a server over HTTP:
// /healthz, whether all is well, and /metrics, in the text format of Prometheus.
package monitor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"parley/internal/frontlimit"
	"parley/internal/groupdb"
)

// WriteHealth answers GET /healthz: with status 503 of a database that does not answer
// (read is the error of reading) or cannot be written (write). What else is in the
// errors is not for everybody.
func WriteHealth(w http.ResponseWriter, read, write error) {
	said := ""
	switch {
	case read != nil:
		said = "the database does not answer"
	case errors.Is(write, groupdb.ErrDiskFull):
		said = "the database cannot be written: " + groupdb.ErrDiskFull.Error()
	case write != nil:
		said = "the database cannot be written"
	default:
		fmt.Fprintln(w, "ok")
		return
	}
	http.Error(w, said, http.StatusServiceUnavailable)
}

// A Metric is one number.
type Metric struct {
	name, kind, help string
	value            int64
}

// Counter is how often something has happened since the start.
func Counter(name, help string, n int64) Metric { return Metric{name, "counter", help, n} }

// Gauge is how much of something there is now.
func Gauge(name, help string, n int64) Metric { return Metric{name, "gauge", help, n} }

// WriteMetrics answers GET /metrics; prefix begins each name. Names and help are one line.
func WriteMetrics(w http.ResponseWriter, prefix string, all []Metric) {
	var b strings.Builder
	for _, m := range all {
		name := prefix + m.name
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", name, m.help, name, m.kind, name, m.value)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	io.WriteString(w, b.String())
}

// IsLocal reports whether a request comes from this machine and was made for it: it
// names it, and bears no sign of a proxy, known to us or not. A page of elsewhere that
// a browser here shows has another name.
func IsLocal(r *http.Request) bool {
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = strings.Trim(r.Host, "[]")
	}
	ip := net.ParseIP(host)
	named := strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
	return named && frontlimit.RemoteIP(r.RemoteAddr).IsLoopback()
}
