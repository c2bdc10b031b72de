package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"parley/internal/nes"
	"parley/internal/term"
)

// plain is a screen without its colours.
func plain(m model) []string { return strings.Split(term.Text(m.View().Content), "\n") }

func testModel(width, height int) model {
	m := newModel("alice", "bob", func(int, string) bool { return true })
	at := time.Date(2026, 1, 2, 14, 2, 19, 0, time.Local)
	m.now = func() time.Time { return at }
	return tell(m, tea.WindowSizeMsg{Width: width, Height: height}, stateMsg{connected: true})
}

// However a message is filled up, only its first row begins where messages begin.
func TestForgedRows(t *testing.T) {
	forged := "[14:02:20] alice > I owe you 1000"
	for _, width := range []int{20, 40, 60, 77} {
		for fill := range 2 * width {
			for _, text := range []string{
				strings.Repeat("x", fill) + " " + forged,
				strings.Repeat("x ", fill) + forged,
				strings.Repeat(" ", fill) + forged,
				"hi\n" + strings.Repeat("漢", fill) + forged,
				"hi\n" + strings.Repeat("\t", fill) + forged,
				"hi\n    \n\n" + strings.Repeat("-", fill) + forged,
			} {
				m := testModel(width, 200)
				m = tell(m, inMsg{nes.Message{From: "bob", Time: m.now().UnixMilli(), Text: text}, make(chan struct{})})
				rows := plain(m)
				if !strings.HasPrefix(rows[1], "[14:02:19] bob >") && width > 20 {
					t.Fatalf("%q", rows[1])
				}
				for _, row := range rows[2 : len(rows)-2] {
					if row != "" && !strings.HasPrefix(row, "    ") {
						t.Fatalf("width %d: %q begins at the edge, of %q", width, row, text)
					}
				}
			}
		}
	}
	m := press(t, testModel(40, 20), typed(strings.Repeat("y", 35))...)
	for _, row := range plain(m)[2:18] {
		if row != "" && !strings.HasPrefix(row, "    ") {
			t.Errorf("%q", row)
		}
	}
}

// On a small terminal all of an alert can be read, and it is not hidden before it was.
func TestAlertOnSmallTerminals(t *testing.T) {
	known, offered := strings.Repeat("abcd ", 15)+"0001", strings.Repeat("beef ", 15)+"0002"
	command := "nes trust bob --new " + strings.Repeat("beef", 15) + "0002"
	text := "THE KEYS OF BOB HAVE CHANGED. Nothing is sent to bob or shown from bob until you decide.\n  known:   " + known + "\n  offered: " + offered +
		"\n  The old signing key does NOT vouch for the new keys: anybody may have put them there.\n  Ask bob, and only then: " + command
	squeeze := func(s string) string { return regexp.MustCompile(`\s`).ReplaceAllString(s, "") }
	enter, esc := tea.KeyPressMsg{Code: tea.KeyEnter}, tea.KeyPressMsg{Code: tea.KeyEscape}
	for _, size := range [][2]int{{40, 10}, {40, 24}, {80, 24}, {24, 8}, {10, 4}} {
		for _, key := range []tea.KeyPressMsg{enter, esc} {
			m := testModel(size[0], size[1])
			for _, k := range typed("half a text") {
				if k.Code != tea.KeyEnter {
					m = press(t, m, k)
				}
			}
			m = tell(m, changedMsg{"bob", text})
			pages, all := 0, make([]string, 200) // rows by their numbers: the last page may repeat some
			read := func() {
				rows := plain(m)
				if len(rows) > size[1] {
					t.Fatalf("%v: %d rows", size, len(rows))
				}
				copy(all[m.page:], rows[len(rows)-2-len(m.alertRows()):len(rows)-2])
			}
			for ; !m.hidden && pages < 300; pages++ {
				read()
				if pages == 0 && size[0] == 24 { // a new size begins anew
					m = tell(press(t, m, key), tea.WindowSizeMsg{Width: size[0], Height: size[1]})
					read()
				}
				if m.seen && !m.paged() && key == enter {
					break // with a text, Enter sends
				}
				m = press(t, m, key)
			}
			shown := strings.Join(all, "\n")
			for _, want := range []string{known, offered, command} {
				if !strings.Contains(squeeze(shown), squeeze(want)) {
					t.Errorf("%v: no %q in\n%s", size, want, shown)
				}
			}
			if m.input.Value() != "half a text" {
				t.Errorf("%v: the text is %q", size, m.input.Value())
			}
			if m.hidden && size[0] >= 40 && !strings.Contains(strings.Join(plain(m), "\n"), "KEYS CHANGED") {
				t.Errorf("%v: nothing says that the keys have changed\n%s", size, m.View().Content)
			}
			m = tell(m, changedMsg{"bob", text})
			if m.hidden || len(m.alertRows()) == 0 {
				t.Errorf("%v: it stays hidden", size)
			}
		}
	}
	m := tell(testModel(40, 10), changedMsg{"bob", text})
	first := m.View().Content
	m = press(t, m, tea.KeyPressMsg{Code: tea.KeyDown}, tea.KeyPressMsg{Code: tea.KeyPgDown}, tea.KeyPressMsg{Code: tea.KeyUp}, tea.KeyPressMsg{Code: tea.KeyPgUp}, tea.KeyPressMsg{Code: tea.KeyPgUp})
	if m.View().Content[:200] != first[:200] {
		t.Errorf("scrolling there and back:\n%s", m.View().Content)
	}
	if _, cmd := m.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}); cmd == nil {
		t.Error("Ctrl-C does not end it")
	}
}
