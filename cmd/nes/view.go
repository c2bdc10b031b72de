package main

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"parley/internal/nes"
)

var (
	barStyle   = lipgloss.NewStyle().Reverse(true)
	alertStyle = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.BrightWhite).Background(lipgloss.Red)
	stateStyle = lipgloss.NewStyle().Faint(true)
)

// indent stands before every row of a message but its first: no row that others have
// written begins where a message does.
const indent = "    "

// View draws the screen: a title, messages, perhaps an alert, a status line, the input.
// An alert that does not fit below the messages takes their place, page by page.
func (m model) View() tea.View {
	var rows []string
	if !m.paged() {
		rows = append(rows, barStyle.Render(fit(" "+m.user+" with "+m.peer+"   (Enter sends, PgUp and PgDn scroll, Esc ends)", m.width)))
		rows = append(rows, m.body()...)
	}
	for _, l := range m.alertRows() {
		rows = append(rows, alertStyle.Render(fit(l, m.width)))
	}
	rows = append(rows, barStyle.Render(fit(m.status(), m.width)))
	v := tea.NewView(strings.Join(append(rows, m.input.View()), "\n"))
	v.AltScreen = true
	if c := m.input.Cursor(); c != nil {
		c.Y += len(rows)
		v.Cursor = c
	}
	return v
}

// status is what is known of the broker, of others, and what was noted last.
func (m model) status() string {
	if m.paged() {
		all, rows := len(m.alertLines()), len(m.alertRows())
		s := fmt.Sprintf(" rows %d-%d of %d", m.page+1, min(m.page+rows, all), all)
		if m.seen {
			return s + " | Enter, Esc: hide"
		}
		return s + " | Enter: more"
	}
	s := " broker: connected"
	if !m.connected {
		s = " broker: " + m.broker
	}
	if m.alert != "" && m.hidden {
		s = " KEYS CHANGED: nothing is sent |" + s
	}
	if m.others > 0 {
		s += fmt.Sprintf(" | %d from others: nes listen shows them", m.others)
	}
	if m.scroll > 0 {
		s += fmt.Sprintf(" | %d lines below", m.scroll)
	}
	if m.note != "" {
		s += " | " + m.note
	}
	return s
}

// alertLines is all of the alert, if it is shown.
func (m model) alertLines() []string {
	if m.alert == "" || m.hidden {
		return nil
	}
	return strings.Split(lipgloss.Wrap("!!! "+m.alert, m.width, ""), "\n")
}

// paged reports whether the alert does not fit below one line of messages.
func (m model) paged() bool { return len(m.alertLines()) > m.height-4 }

// alertRows is the part of the alert that is on the screen.
func (m model) alertRows() []string {
	lines := m.alertLines()
	if !m.paged() {
		return lines
	}
	return lines[m.page:min(m.page+m.pageHeight(), len(lines))]
}

// pageHeight leaves the status line and the input.
func (m model) pageHeight() int { return m.height - 2 }

// bodyHeight is how many lines of messages the screen has.
func (m model) bodyHeight() int { return max(m.height-3-len(m.alertRows()), 1) }

// lines is how an entry is shown: cleaned, wrapped, and with what became of it.
func (m model) lines(e entry) []string {
	var lines []string
	for text := range strings.SplitSeq(strings.ReplaceAll(nes.Dated(e.m, m.now()), "\t", indent), "\n") {
		text = strings.TrimPrefix(text, indent) // it has one already where it is no first line
		for row := range strings.SplitSeq(lipgloss.Wrap(text, m.width-len(indent), ""), "\n") {
			if len(lines) > 0 {
				row = indent + row
			}
			lines = append(lines, row)
		}
	}
	if e.id == 0 || e.state == sent {
		return lines
	}
	mark := " (" + string(e.state) + ")"
	if last := len(lines) - 1; lipgloss.Width(lines[last]+mark) <= m.width {
		lines[last] += stateStyle.Render(mark)
	} else {
		lines = append(lines, indent+stateStyle.Render(fit(strings.TrimSpace(mark), m.width-len(indent))))
	}
	return lines
}

func (m model) maxScroll() int {
	n := 0
	for _, e := range m.entries {
		n += len(m.lines(e))
	}
	return max(n-m.bodyHeight(), 0)
}

// body is the part of the messages that is on the screen, filled up with empty lines.
func (m model) body() []string {
	height, need := m.bodyHeight(), m.bodyHeight()+m.scroll
	var lines []string
	for i := len(m.entries) - 1; i >= 0 && len(lines) < need; i-- {
		lines = append(m.lines(m.entries[i]), lines...)
	}
	end := max(len(lines)-m.scroll, 0)
	lines = lines[max(end-height, 0):end]
	return append(lines, make([]string, height-len(lines))...)
}

// fit cuts a line to a width, or fills it up.
func fit(s string, width int) string {
	if w := lipgloss.Width(s); w <= width {
		return s + strings.Repeat(" ", width-w)
	}
	cut := ""
	for _, r := range s {
		if lipgloss.Width(cut+string(r)) > width-1 {
			break
		}
		cut += string(r)
	}
	return cut + "…"
}
