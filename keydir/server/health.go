package server

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
)

// counts are what happened since the start.
type counts struct {
	lookups, registrations, activations, rotations, deletions, mailsSent, mailsFailed, limited atomic.Int64
}

// getHealth answers GET /healthz: whether the database answers and can be written.
func (d *Directory) getHealth(w http.ResponseWriter, r *http.Request) {
	if err := d.store.read(func(c *conn) error { _, err := c.one("SELECT count(*) FROM sqlite_schema"); return err }); err != nil {
		d.o.Trouble("the directory", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	if err := d.writable(); err != nil {
		said := "the database cannot be written"
		if errors.Is(err, errDiskFull) {
			said += ": " + errDiskFull.Error()
		}
		http.Error(w, said, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// getMetrics answers GET /metrics in the text format of Prometheus, to clients on
// this machine unless the operator lets everybody see it.
func (d *Directory) getMetrics(w http.ResponseWriter, r *http.Request) {
	if !d.o.Metrics && !isLocal(r) {
		d.fail(w, errNotFound)
		return
	}
	var users, waiting, entries, mails int64
	err := d.store.read(func(c *conn) (err error) {
		for _, x := range []struct {
			to  *int64
			sql string
		}{
			{&users, "SELECT count(*) FROM account WHERE activated != 0"}, {&waiting, "SELECT count(*) FROM account WHERE activated = 0"},
			{&entries, "SELECT coalesce(max(seq), 0) FROM log"}, {&mails, "SELECT count(*) FROM outbox"},
		} {
			if *x.to, err = c.one(x.sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.fail(w, err)
		return
	}
	var b strings.Builder
	for _, m := range []struct {
		name, kind, help string
		value            int64
	}{
		{"lookups_total", "counter", "Look-ups of keys.", d.counts.lookups.Load()},
		{"registrations_total", "counter", "Names registered.", d.counts.registrations.Load()},
		{"activations_total", "counter", "Accounts activated.", d.counts.activations.Load()},
		{"rotations_total", "counter", "Keys replaced.", d.counts.rotations.Load()},
		{"deletions_total", "counter", "Accounts deleted.", d.counts.deletions.Load()},
		{"mails_sent_total", "counter", "Mails that the mail server took, or that became files.", d.counts.mailsSent.Load()},
		{"mails_failed_total", "counter", "Mails given up.", d.counts.mailsFailed.Load()},
		{"rate_limited_total", "counter", "Requests and connections refused by a limit.", d.counts.limited.Load()},
		{"users", "gauge", "Active accounts.", users},
		{"users_waiting", "gauge", "Accounts not activated yet.", waiting},
		{"mails_waiting", "gauge", "Mails in the outbox.", mails},
		{"log_entries", "gauge", "Entries of the key log.", entries},
	} {
		fmt.Fprintf(&b, "# HELP parley_keydir_%s %s\n# TYPE parley_keydir_%s %s\nparley_keydir_%s %d\n", m.name, m.help, m.name, m.kind, m.name, m.value)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, b.String())
}

// isLocal reports whether a request comes from this machine and was made for it: it
// names it, and bears no sign of a proxy, known to us or not. A page of elsewhere that
// a browser here shows has another name.
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
	return isLoopback(strings.ToLower(host)) && remoteIP(r.RemoteAddr).IsLoopback()
}
