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

// View draws the screen: a title, messages, perhaps an alert, a status line, the input.
func (m model) View() tea.View {
	rows := []string{barStyle.Render(fit(" "+m.user+" with "+m.peer+"   (Enter sends, PgUp and PgDn scroll, Esc ends)", m.width))}
	rows = append(rows, m.body()...)
	for _, l := range m.alertLines() {
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
	s := " broker: connected"
	if !m.connected {
		s = " broker: " + m.broker
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

// alertLines is the alert, as far as there is room.
func (m model) alertLines() []string {
	if m.alert == "" {
		return nil
	}
	lines := strings.Split(lipgloss.Wrap("!!! "+m.alert, m.width, ""), "\n")
	return lines[:min(len(lines), max(m.height-4, 0))]
}

// bodyHeight is how many lines of messages the screen has.
func (m model) bodyHeight() int { return max(m.height-3-len(m.alertLines()), 1) }

// lines is how an entry is shown: cleaned, wrapped, and with what became of it.
func (m model) lines(e entry) []string {
	text := nes.Dated(e.m, m.now())
	lines := strings.Split(lipgloss.Wrap(strings.ReplaceAll(text, "\t", "    "), m.width, ""), "\n")
	if e.id == 0 || e.state == sent {
		return lines
	}
	mark := " (" + string(e.state) + ")"
	if last := len(lines) - 1; lipgloss.Width(lines[last]+mark) <= m.width {
		lines[last] += stateStyle.Render(mark)
	} else {
		lines = append(lines, stateStyle.Render(fit(mark, m.width)))
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
