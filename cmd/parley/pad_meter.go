package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"parley/internal/term"
)

// meter tells how far long work is: a bar in one line of a terminal, else a plain line
// now and then.
type meter struct {
	w       io.Writer
	what    string
	json    bool
	tty     bool
	width   func() int
	now     func() time.Time
	begun   time.Time
	told    time.Time
	samples []sample // of the last seconds, for the rate
	line    int      // how long the line on the terminal is
}

type sample struct {
	at   time.Time
	done int64
}

const (
	redraw    = 100 * time.Millisecond
	plainLine = 10 * time.Second
	rateOver  = 5 * time.Second
	longTail  = 68 // what may stand right of the bar, and its frame
)

func newMeter(a *app, what string) *meter {
	m := &meter{w: a.err, what: what, json: a.json, now: time.Now, width: func() int { return 80 }}
	if f, ok := a.err.(*os.File); ok && !a.json && term.IsTerminal(f) {
		m.tty, m.width = true, func() int { return term.Width(f) }
	}
	m.begun = m.now()
	m.told = m.begun
	m.samples = []sample{{m.begun, 0}}
	return m
}

// tell is the callback of the work.
func (m *meter) tell(done, total int64) {
	now := m.now()
	if last := m.samples[len(m.samples)-1]; now.Sub(last.at) < redraw {
		return
	}
	m.samples = append(m.samples, sample{now, done})
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > rateOver {
		m.samples = m.samples[1:]
	}
	switch {
	case m.tty:
		text := m.bar(done, total)
		width := len([]rune(text))
		fmt.Fprintf(m.w, "\r%s%s", text, strings.Repeat(" ", max(0, m.line-width)))
		m.line, m.told = width, now
	case now.Sub(m.told) >= plainLine:
		m.told = now
		m.plain(done, total)
	}
}

func (m *meter) plain(done, total int64) {
	if m.json {
		b, _ := term.JSON(struct {
			Done  int64   `json:"done"`
			Total int64   `json:"total"`
			Rate  int64   `json:"bytes_per_second"`
			Left  float64 `json:"seconds_left"`
		}{done, total, int64(m.rate()), m.left(done, total).Seconds()})
		fmt.Fprintf(m.w, "%s\n", b)
		return
	}
	fmt.Fprintf(m.w, "%s: %s\n", m.what, m.numbers(done, total))
}

// rate is in bytes per second.
func (m *meter) rate() float64 {
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	if d := last.at.Sub(first.at).Seconds(); d > 0 {
		return float64(last.done-first.done) / d
	}
	return 0
}

// left is the time until the end at the present rate, or 0 if nobody knows.
func (m *meter) left(done, total int64) time.Duration {
	rate := m.rate()
	if s := float64(total-done) / rate; rate > 0 && s < 1e9 {
		return time.Duration(s * float64(time.Second))
	}
	return 0
}

func (m *meter) numbers(done, total int64) string {
	text := fmt.Sprintf("%s of %s, %s/s", sizeText(done), sizeText(total), sizeText(int64(m.rate())))
	if left := m.left(done, total); left > 0 && done < total {
		text += ", " + durationText(left) + " left"
	}
	return text
}

func (m *meter) bar(done, total int64) string {
	percent := 100.0
	if total > 0 {
		percent = 100 * float64(done) / float64(total)
	}
	tail := fmt.Sprintf(" %3.0f %%  %s", percent, m.numbers(done, total))
	cells := min(m.width()-len(m.what)-longTail, 40) // the same while the numbers change
	if cells < 5 {
		return clip(m.what+tail, m.width()-1)
	}
	filled := int(percent / 100 * float64(cells))
	return m.what + " [" + strings.Repeat("█", filled) + strings.Repeat("░", cells-filled) + "]" + tail
}

func clip(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:max(width, 0)])
	}
	return s
}

// end takes the bar away, and says how long it all took if it was done.
func (m *meter) end(total int64, err error) {
	if m.line > 0 {
		fmt.Fprintf(m.w, "\r%s\r", strings.Repeat(" ", m.line))
		m.line = 0
	}
	took := m.now().Sub(m.begun)
	if err != nil || m.json || total <= 0 {
		return
	}
	rate := int64(float64(total) / max(took.Seconds(), 1e-3))
	fmt.Fprintf(m.w, "%s: %s in %s (%s/s)\n", m.what, sizeText(total), durationText(took), sizeText(rate))
}

// durationText is a duration in its two largest units.
func durationText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days %d h", int(d.Hours())/24, int(d.Hours())%24)
}
