package server

import (
	"fmt"
	"strings"
	"testing"
)

// A database that cannot grow is told as such, to the operator and by /healthz, until
// something can be written again.
func TestDiskFull(t *testing.T) {
	var told []string
	w := newWorld(t, Options{Trouble: func(what string, err error) { told = append(told, what+": "+err.Error()) }})
	w.enrol("alice", pairOf("alice"))
	w.want("GET", "/healthz", "", 200, "ok\n")
	pages := func(sql string) {
		t.Helper()
		// The limit belongs to the connection that writes.
		if err := w.d.store.write(func(c *conn) error { _, err := c.Int64(sql); return err }); err != nil {
			t.Fatal(err)
		}
	}
	pages("PRAGMA max_page_count = 1") // as few as there are
	var last string
	for i := range 100 {
		rec := w.ask("POST", "/users", registration(fmt.Sprint("user", i), fmt.Sprintf("u%d@b", i), pairOf("alice").keys(), nil))
		if last = rec.Body.String(); rec.Code != 201 {
			break
		}
	}
	if !strings.Contains(last, "its operator is told") || !strings.Contains(strings.Join(told, "\n"), "the disk is full") {
		t.Errorf("answered %q, told %q", last, told)
	}
	const full = "the database cannot be written: the disk is full\n"
	w.want("GET", "/healthz", "", 503, full)
	// A request that fails for its own reasons changes nothing; neither does a look-up.
	w.want("POST", "/users", registration("alice", "a@b", pairOf("alice").keys(), nil), 400, "user already exist\n")
	w.answer("alice")
	w.want("GET", "/healthz", "", 503, full)
	w.clock.add(probeEvery)
	w.want("GET", "/healthz", "", 503, full) // tried again
	pages("PRAGMA max_page_count = 1000000")
	w.want("GET", "/healthz", "", 503, full) // not tried so soon
	w.clock.add(probeEvery)
	w.want("GET", "/healthz", "", 200, "ok\n")
	w.want("GET", "/healthz", "", 200, "ok\n")
}
