package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"parley/internal/nes"
	"parley/internal/term"
)

type chatCmd struct {
	To string `short:"t" required:"" placeholder:"USER" help:"Whom to talk with."`
}

func (c *chatCmd) Run(ctx context.Context, a *app) error {
	if err := nes.CheckPeer(c.To); err != nil {
		return err
	}
	if !term.IsTerminal(os.Stdin) || !term.IsTerminal(os.Stdout) {
		return nes.Errorf(nes.Usage, "chat needs a terminal on standard input and output: use send and listen in scripts")
	}
	var early []string // said before the screen is there, shown behind it
	s, err := a.settings()
	if err != nil {
		return err
	}
	t := &talk{peer: c.To, jobs: make(chan job, 1024), flushed: make(chan struct{}, 1), over: make(chan struct{})}
	t.e, err = nes.Open(s, func(text string) {
		if t.program == nil {
			early = append(early, text)
			return
		}
		t.program.Send(noteMsg(text))
	})
	if err != nil {
		return err
	}
	defer t.e.Close()
	t.program = tea.NewProgram(newModel(s.Get(nes.User), c.To, t.say), tea.WithContext(ctx), tea.WithoutSignalHandler())
	for _, text := range early {
		a.note(text)
	}
	return t.run(ctx)
}

// A talk is one chat: the engine on one side, the screen on the other.
type talk struct {
	e       *nes.Engine
	peer    string
	program *tea.Program
	jobs    chan job
	flushed chan struct{} // something is in the outbox
	over    chan struct{} // the screen is gone

	mu      sync.Mutex
	pending []int // in the outbox, not at the broker
}

// A job is one text to send.
type job struct {
	id   int
	text string
}

// say takes a text from the screen, which must not wait.
func (t *talk) say(id int, text string) bool {
	select {
	case t.jobs <- job{id, text}:
		return true
	default:
		return false
	}
}

func (t *talk) run(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		err := t.e.Listen(inner, t.sink(inner), t.send)
		done <- err
		if err != nil {
			t.program.Send(endMsg{})
		}
	}()
	_, err := t.program.Run()
	close(t.over)
	cancel()
	if listen := <-done; listen != nil {
		return listen
	}
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return context.Canceled
	}
	return err
}

func (t *talk) sink(ctx context.Context) nes.Sink {
	return nes.Sink{
		Ready: func() { t.program.Send(stateMsg{connected: true}) },
		Show: func(m nes.Message) error {
			if m.From != t.peer {
				t.program.Send(otherMsg{})
				return nes.ErrLater
			}
			shown := make(chan struct{})
			go t.program.Send(inMsg{m, shown})
			select {
			case <-shown:
				return nil
			case <-t.over: // not seen by anybody: listen or the next chat shows it
				return nes.ErrLater
			}
		},
		Report:  func(text string) { t.program.Send(noteMsg(text)) },
		Changed: func(peer, text string) { t.program.Send(changedMsg{peer, text}) },
		State:   func(connected bool, err error) { t.program.Send(stateMsg{connected, err}) },
	}
}

// send commits texts to the outbox as they come, and has another goroutine publish
// them: a broker that is gone keeps no text out of the outbox.
func (t *talk) send(ctx context.Context, l *nes.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { t.publish(ctx, l) })
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-t.jobs:
			if err := t.e.Queue(ctx, t.peer, j.text); err != nil {
				if text, ok := nes.ChangedText(err); ok {
					t.program.Send(changedMsg{t.peer, text})
				}
				t.program.Send(sentMsg{[]int{j.id}, failed, err.Error()})
				continue
			}
			t.mu.Lock()
			t.pending = append(t.pending, j.id)
			t.mu.Unlock()
			t.program.Send(sentMsg{[]int{j.id}, waiting, ""})
			select {
			case t.flushed <- struct{}{}:
			default:
			}
		}
	}
}

func (t *talk) publish(ctx context.Context, l *nes.Listener) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.flushed:
		}
		t.mu.Lock()
		ids := t.pending
		t.pending = nil
		t.mu.Unlock()
		for {
			err := l.Flush(ctx)
			if err == nil {
				t.program.Send(sentMsg{ids, sent, ""})
				break
			}
			t.program.Send(noteMsg(err.Error()))
			select {
			case <-ctx.Done():
				return
			case <-time.After(5 * time.Second):
			}
		}
	}
}
