package server

import (
	"net/http"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"

	"parley/internal/monitor"
)

// counts are what happened since the start.
type counts struct {
	sent, repeated, asked, claimed, limited, unnoted atomic.Int64
}

// getHealth answers GET /healthz: whether the database answers and can be written.
func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) {
	err := s.store.Ping()
	if err != nil {
		s.o.Trouble("the relay of One Time Chat", err)
	}
	monitor.WriteHealth(w, err, s.store.Fault())
}

// getMetrics answers GET /metrics in the text format of Prometheus, to clients on this
// machine unless the operator lets everybody see it.
func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) {
	if !s.o.Metrics && !monitor.IsLocal(r) {
		s.refuse(w, http.StatusNotFound, "there is nothing here")
		return
	}
	var boxes, messages, bytes int64
	err := s.store.read(func(c *conn) error {
		return c.Each("SELECT mailboxes, messages, bytes FROM total", func(st *sqlite3.Stmt) error {
			boxes, messages, bytes = st.ColumnInt64(0), st.ColumnInt64(1), st.ColumnInt64(2)
			return nil
		})
	})
	if err != nil {
		s.fail(w, err)
		return
	}
	monitor.WriteMetrics(w, "parley_otc_", []monitor.Metric{
		monitor.Counter("messages_sent_total", "Messages taken.", s.counts.sent.Load()),
		monitor.Counter("messages_repeated_total", "Sendings of messages that were there already.", s.counts.repeated.Load()),
		monitor.Counter("questions_total", "Questions for messages and numbers.", s.counts.asked.Load()),
		monitor.Counter("claims_total", "Mailboxes claimed, claims repeated included.", s.counts.claimed.Load()),
		monitor.Counter("rate_limited_total", "Requests and connections refused by a limit.", s.counts.limited.Load()),
		monitor.Gauge("mailboxes", "Mailboxes.", boxes),
		monitor.Gauge("messages", "Messages kept.", messages),
		monitor.Gauge("message_bytes", "Their size, as the limits count it.", bytes),
		monitor.Gauge("waiting", "Requests that wait for a message.", int64(s.waiting.count())),
	})
}
