package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"parley/messenger"
)

// pairConfig tells the messenger child where its relay is.
type pairConfig struct {
	Relay string `json:"relay"`
}

// timelines are the numbers each side has received, in the order of its timeline.
type timelines struct {
	Alice []int `json:"alice"` // what Bob sent
	Bob   []int `json:"bob"`   // what Alice sent
}

// A pair is the child that the crash test of the messenger kills: two messengers
// with a profile each, that send numbered messages to each other and keep
// journals of it. Every step can be repeated after a kill.
type pair struct {
	dir        string
	alice, bob messenger.API
	stop       context.CancelFunc // of the senders
	senders    sync.WaitGroup

	mu  sync.Mutex
	err error // why a sender gave up
}

// The two know each other by these names.
const (
	aliceName = "alice"
	bobName   = "bob"
	// sendEvery is the time between two messages of one side.
	sendEvery = 15 * time.Millisecond
)

func startPair(ctx context.Context, r role) (_ part, err error) {
	if r.Pair == nil {
		return nil, errors.New("the messengers were not told their relay")
	}
	p := &pair{dir: r.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	ctx, p.stop = context.WithCancel(ctx)
	for _, side := range []struct {
		name string
		api  *messenger.API
	}{{aliceName, &p.alice}, {bobName, &p.bob}} {
		api, err := openProfile(ctx, filepath.Join(p.dir, side.name), side.name, r.Pair.Relay)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", side.name, err)
		}
		*side.api = api
	}
	if err := p.introduce(ctx); err != nil {
		return nil, fmt.Errorf("introduce: %w", err)
	}
	for _, side := range []struct {
		api      messenger.API
		name, to string
	}{{p.alice, aliceName, bobName}, {p.bob, bobName, aliceName}} {
		j, err := openJournal(p.journal(side.name))
		if err != nil {
			return nil, err
		}
		p.senders.Go(func() {
			if err := errors.Join(sendNumbers(ctx, side.api, side.to, j), j.f.Close()); err != nil {
				p.mu.Lock()
				p.err = errors.Join(p.err, fmt.Errorf("%s: %w", side.name, err))
				p.mu.Unlock()
			}
		})
	}
	return p, nil
}

func (p *pair) journal(name string) string { return journalPath(p.dir, name) }

func journalPath(dir, name string) string { return filepath.Join(dir, name+".journal") }

// introduce makes the two known to each other, or goes on where a kill ended it.
// Alice's invitation is on disk before Bob sees it; without it on disk, she makes
// another one.
func (p *pair) introduce(ctx context.Context) error {
	path := filepath.Join(p.dir, "invitation")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := p.alice.Contact(ctx, bobName); err == nil {
			if err := p.alice.Remove(ctx, bobName); err != nil {
				return err
			}
		} else if !errors.Is(err, messenger.ErrNoContact) {
			return err
		}
		inv, err := p.alice.Invite(ctx, messenger.InviteOptions{As: bobName})
		if err != nil {
			return err
		}
		text = []byte(inv.Text)
		if err := writeWhole(path, text); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	_, err = p.bob.Contact(ctx, aliceName)
	if errors.Is(err, messenger.ErrNoContact) {
		_, err = p.bob.Accept(ctx, messenger.AcceptOptions{Invitation: string(text), As: aliceName})
	}
	return err
}

// writeWhole makes a file appear with all its content or not at all.
func writeWhole(path string, b []byte) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// sendNumbers sends one number after the other until ctx ends.
func sendNumbers(ctx context.Context, api messenger.API, to string, j *journal) error {
	for ; ctx.Err() == nil; j.next++ {
		if err := j.note(noteTry, j.next); err != nil {
			return err
		}
		_, err := api.Send(ctx, to, strconv.Itoa(j.next))
		switch {
		case err == nil:
			if err := j.note(noteSent, j.next); err != nil {
				return err
			}
		case ctx.Err() != nil || errors.Is(err, messenger.ErrState): // not while they are strangers
		default:
			return fmt.Errorf("send %d: %w", j.next, err)
		}
		if pause(ctx, sendEvery) != nil {
			return nil
		}
	}
	return nil
}

func (p *pair) address() string { return "" }

// do stops the senders ("drain") and says what has arrived.
func (p *pair) do(ctx context.Context, q request) (reply, error) {
	if q.Op != "drain" {
		return reply{}, fmt.Errorf("the messengers do not know %q", q.Op)
	}
	p.stop()
	p.senders.Wait()
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	if err != nil {
		return reply{}, err
	}
	var got timelines
	for end := time.Now().Add(q.For); ; {
		if got, err = p.received(ctx); err != nil {
			return reply{}, err
		}
		if p.complete(got) || time.Now().After(end) {
			return reply{Got: &got}, nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return reply{}, err
		}
	}
}

// complete reports whether all that the journals call sent is there.
func (p *pair) complete(got timelines) bool {
	for name, list := range map[string][]int{aliceName: got.Bob, bobName: got.Alice} {
		_, sent, err := readJournal(p.journal(name))
		if err != nil || len(sent) > 0 && (len(list) == 0 || list[len(list)-1] < sent[len(sent)-1]) {
			return false
		}
	}
	return true
}

func (p *pair) received(ctx context.Context) (t timelines, err error) {
	if t.Alice, err = numbers(ctx, p.alice, bobName); err == nil {
		t.Bob, err = numbers(ctx, p.bob, aliceName)
	}
	return t, err
}

// numbers reads what came from a contact. What is no number counts as 0, which
// nobody sends.
func numbers(ctx context.Context, api messenger.API, from string) ([]int, error) {
	all, err := api.History(ctx, from, 0)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, m := range all {
		if m.Direction == "in" && m.Kind == "text" {
			n, _ := strconv.Atoi(strings.TrimSpace(m.Text))
			list = append(list, n)
		}
	}
	return list, nil
}

func (p *pair) Close() error {
	if p.stop != nil {
		p.stop()
	}
	p.senders.Wait()
	var errs []error
	for _, api := range []messenger.API{p.alice, p.bob} {
		if api != nil {
			errs = append(errs, api.Close())
		}
	}
	return errors.Join(errs...)
}
