package main

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"time"

	"parley/internal/nes"
	"parley/internal/term"
)

// maxLines is how many messages the screen remembers.
const maxLines = 5000

// What is known of a message of ours.
type sendState string

const (
	sending sendState = "sending"
	waiting sendState = "waiting for the broker"
	sent    sendState = "sent"
	failed  sendState = "NOT SENT"
)

// What the screen is told, beside keys and sizes.
type (
	inMsg struct {
		m     nes.Message
		shown chan struct{} // closed once the message is on the screen
	}
	sentMsg struct {
		ids   []int
		state sendState
		why   string
	}
	stateMsg struct {
		connected bool
		err       error
	}
	changedMsg struct{ peer, text string }
	noteMsg    string
	otherMsg   struct{} // a message of somebody else came
	endMsg     struct{}
)

// An entry is one message on the screen.
type entry struct {
	m     nes.Message // its text is clean
	id    int         // of one of ours; 0 for the peer's
	state sendState
}

// model is the screen of a chat. Update changes nothing outside of it, but for say.
type model struct {
	user, peer string
	say        func(id int, text string) bool
	now        func() time.Time

	entries   []entry
	last      int // id of ours
	input     textinput.Model
	width     int
	height    int
	scroll    int // lines above the end
	connected bool
	broker    string // why it is not
	others    int
	alert     string // the peer's keys have changed
	page      int    // its first row on the screen
	seen      bool   // its last row has been on the screen
	hidden    bool
	note      string
}

func newModel(user, peer string, say func(int, string) bool) model {
	in := textinput.New()
	in.Prompt = "> "
	in.CharLimit = 64 << 10
	in.SetVirtualCursor(false)
	in.Focus()
	return model{user: user, peer: peer, say: say, now: time.Now, input: in, width: 80, height: 24, broker: "connecting"}
}

func (m model) Init() tea.Cmd { return nil }

// Update takes one event in.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(msg.Width, 10), max(msg.Height, 4)
		m.input.SetWidth(m.width - 4)
		m.page, m.scroll = 0, min(m.scroll, m.maxScroll())
		m = m.look()
	case tea.KeyPressMsg:
		return m.key(msg)
	case inMsg:
		m = m.add(entry{m: msg.m})
		close(msg.shown)
	case sentMsg:
		m = m.sent(msg)
	case stateMsg:
		m.connected, m.broker = msg.connected, "no connection"
		if msg.err != nil {
			m.broker = term.Line(msg.err.Error())
		}
	case changedMsg:
		if msg.peer == m.peer {
			m.alert, m.page, m.seen, m.hidden = term.Text(msg.text), 0, false, false
			m = m.look()
		} else {
			m.note = "The keys of " + term.Line(msg.peer) + " have changed: nes listen shows more."
		}
	case noteMsg:
		m.note = term.Line(string(msg))
	case otherMsg:
		m.others++
	case endMsg:
		return m, tea.Quit
	default:
		var cmd tea.Cmd
		m.input, cmd = m.input.Update(msg)
		return m, cmd
	}
	return m, nil
}

// look notes whether all of the alert has been on the screen.
func (m model) look() model {
	m.seen = m.seen || !m.paged() || m.page+m.pageHeight() >= len(m.alertLines())
	return m
}

// turn scrolls the alert.
func (m model) turn(rows int) model {
	m.page = max(min(m.page+rows, len(m.alertLines())-m.pageHeight()), 0)
	return m.look()
}

// alertKey is what keys do while an alert is shown, if that is something of their own.
func (m model) alertKey(key string) (model, bool) {
	switch {
	case !m.seen && (key == "enter" || key == "esc"), m.paged() && key == "pgdown":
		return m.turn(m.pageHeight()), true
	case key == "esc", key == "enter" && (m.paged() || m.input.Value() == ""):
		m.hidden = true
		return m, true
	case m.paged() && key == "pgup":
		return m.turn(-m.pageHeight()), true
	case m.paged() && key == "up":
		return m.turn(-1), true
	case m.paged() && key == "down":
		return m.turn(1), true
	}
	return m, false
}

func (m model) key(k tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	if m.alert != "" && !m.hidden {
		if next, done := m.alertKey(k.String()); done {
			return next, nil
		}
	}
	switch k.String() {
	case "ctrl+c", "esc":
		return m, tea.Quit
	case "enter":
		return m.enter(), nil
	case "pgup":
		m.scroll = min(m.scroll+m.bodyHeight(), m.maxScroll())
	case "pgdown":
		m.scroll = max(m.scroll-m.bodyHeight(), 0)
	case "up":
		m.scroll = min(m.scroll+1, m.maxScroll())
	case "down":
		m.scroll = max(m.scroll-1, 0)
	default:
		var cmd tea.Cmd
		m.input, cmd = m.input.Update(k)
		return m, cmd
	}
	return m, nil
}

// enter sends what was typed.
func (m model) enter() model {
	text := m.input.Value()
	if text == "" {
		return m
	}
	if !m.say(m.last+1, text) {
		m.note = "Too much waits to be sent: try again in a moment."
		return m
	}
	m.last++
	m.input.Reset()
	m.scroll = 0
	return m.add(entry{m: nes.Message{From: m.user, Time: m.now().UnixMilli(), Text: text}, id: m.last, state: sending})
}

// add puts an entry at the end. Who has scrolled up goes on reading where they are.
func (m model) add(e entry) model {
	m.entries = append(m.entries[:len(m.entries):len(m.entries)], e)
	if len(m.entries) > maxLines {
		m.entries = m.entries[len(m.entries)-maxLines:]
	}
	if m.scroll > 0 {
		m.scroll = min(m.scroll+len(m.lines(e)), m.maxScroll())
	}
	return m
}

func (m model) sent(msg sentMsg) model {
	entries := append([]entry(nil), m.entries...)
	for i, e := range entries {
		for _, id := range msg.ids {
			if e.id == id {
				entries[i].state = msg.state
			}
		}
	}
	m.entries = entries
	if msg.why != "" {
		m.note = term.Line(msg.why)
	}
	if msg.state == waiting { // the recipient's keys were good
		m.alert = ""
	}
	return m
}
