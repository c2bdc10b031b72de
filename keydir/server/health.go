package server

import (
	"net/http"
	"sync/atomic"

	"parley/internal/monitor"
)

// counts are what happened since the start.
type counts struct {
	lookups, registrations, activations, rotations, deletions, mailsSent, mailsFailed, limited atomic.Int64
}

// getHealth answers GET /healthz: whether the database answers and can be written.
func (d *Directory) getHealth(w http.ResponseWriter, r *http.Request) {
	if err := d.store.Ping(); err != nil {
		d.o.Trouble("the directory", err)
		monitor.WriteHealth(w, err, nil)
		return
	}
	monitor.WriteHealth(w, nil, d.writable())
}

// getMetrics answers GET /metrics in the text format of Prometheus, to clients on
// this machine unless the operator lets everybody see it.
func (d *Directory) getMetrics(w http.ResponseWriter, r *http.Request) {
	if !d.o.Metrics && !monitor.IsLocal(r) {
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
			if *x.to, err = c.Int64(x.sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		d.fail(w, err)
		return
	}
	monitor.WriteMetrics(w, "parley_keydir_", []monitor.Metric{
		monitor.Counter("lookups_total", "Look-ups of keys.", d.counts.lookups.Load()),
		monitor.Counter("registrations_total", "Names registered.", d.counts.registrations.Load()),
		monitor.Counter("activations_total", "Accounts activated.", d.counts.activations.Load()),
		monitor.Counter("rotations_total", "Keys replaced.", d.counts.rotations.Load()),
		monitor.Counter("deletions_total", "Accounts deleted.", d.counts.deletions.Load()),
		monitor.Counter("mails_sent_total", "Mails that the mail server took, or that became files.", d.counts.mailsSent.Load()),
		monitor.Counter("mails_failed_total", "Mails given up.", d.counts.mailsFailed.Load()),
		monitor.Counter("rate_limited_total", "Requests and connections refused by a limit.", d.counts.limited.Load()),
		monitor.Gauge("users", "Active accounts.", users),
		monitor.Gauge("users_waiting", "Accounts not activated yet.", waiting),
		monitor.Gauge("mails_waiting", "Mails in the outbox.", mails),
		monitor.Gauge("log_entries", "Entries of the key log.", entries),
	})
}
