package main

import (
	"fmt"
	"strings"
	"time"

	"parley/internal/term"
	"parley/messenger"
)

// say tells what happens, with the time since the start.
func (d *demo) say(who, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	at := time.Since(d.begun).Seconds()
	d.show(struct {
		Event string  `json:"event"`
		At    float64 `json:"at"`
		Who   string  `json:"who"`
		Text  string  `json:"text"`
	}{"step", at, who, text}, fmt.Sprintf("%7.3fs  %-8s %s\n", at, who, term.Line(text)))
}

// show prints v with --json, else text. The demo goes on if nobody reads it.
func (d *demo) show(v any, text string) { d.a.result(v, func() string { return text }) }

// ways are the stations of a message.
var ways = []messenger.State{messenger.Queued, messenger.AtRelay, messenger.AtDevice, messenger.Read}

// picture draws each message's way with the times since the start.
func (d *demo) picture() {
	if !d.a.json {
		d.a.print("\nThe way of each message, in seconds since the start:\n\n                     queued         relay          device         read\n")
	}
	for _, m := range d.sent {
		from := d.person(m.from)
		at := make(map[string]float64)
		var b strings.Builder
		for i, s := range ways {
			if i > 0 {
				b.WriteString(" ──▶ ")
			}
			from.mu.Lock()
			t := from.reached[m.ID][s]
			from.mu.Unlock()
			if t.IsZero() { // a later station was known first
				b.WriteString("    ·     ")
				continue
			}
			at[string(s)] = t.Sub(d.begun).Seconds()
			fmt.Fprintf(&b, "● %8.3f", at[string(s)])
		}
		d.show(struct {
			Event string             `json:"event"`
			N     int                `json:"n"`
			ID    string             `json:"id"`
			From  string             `json:"from"`
			At    map[string]float64 `json:"at"`
			Text  string             `json:"text"`
		}{"way", m.n, m.ID, m.from, at, m.Text},
			fmt.Sprintf("%3d  %-5s → %-5s  %s\n     “%s”\n", m.n, m.from, m.Contact, b.String(), term.Line(m.Text)))
	}
}
