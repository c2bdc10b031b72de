package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"parley"
)

var aQuestion = Question{Op: OpPackage, Self: "alice", Peer: "bob", Client: "laptop", Message: 5, Pad: 58, Left: 100}

func TestConfirmTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []error
		c := NewConfirm(time.Minute, func(_ Question, _ string, err error) { ends = append(ends, err) })
		begin := time.Now()
		if err := c.Ask(t.Context(), aQuestion); !errors.Is(err, parley.ErrDenied) || !errors.Is(err, errTimeout) {
			t.Error(err)
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("after %v", d)
		}
		if a, _, _ := c.Shown(); a != nil || len(ends) != 1 {
			t.Error(a, ends)
		}
	})
}

// Questions come one after the other, and each has its time from when it is shown.
func TestConfirmQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConfirm(time.Minute, nil)
		got := make(chan string, 3)
		for i, name := range []string{"a", "b", "c"} {
			go func() {
				q := aQuestion
				q.Message = int64(i)
				got <- fmt.Sprint(name, " ", c.Ask(t.Context(), q))
			}()
			synctest.Wait()
		}
		a, _, _ := c.Shown()
		if a.Message != 0 || a.More != 2 || a.Within != time.Minute {
			t.Fatal(a)
		}
		if err := c.Answer("1000", true); !errors.Is(err, ErrNumber) {
			t.Error(err)
		}
		check(t, c.Answer(a.Number, true))
		if s := <-got; s != "a <nil>" {
			t.Error(s)
		}
		if err := c.Answer(a.Number, true); !errors.Is(err, ErrNumber) {
			t.Errorf("an answer counts twice: %v", err)
		}
		<-time.After(59 * time.Second)
		if a, _, _ = c.Shown(); a.Message != 1 || a.Within != time.Second {
			t.Fatal(a)
		}
		<-time.After(time.Second)
		synctest.Wait()
		if s := <-got; !strings.Contains(s, "b "+errTimeout.Error()) {
			t.Error(s)
		}
		if a, _, _ = c.Shown(); a.Message != 2 || a.Within != time.Minute {
			t.Fatal(a)
		}
		check(t, c.Answer(a.Number, false))
		if s := <-got; !strings.Contains(s, "c "+errRejected.Error()) {
			t.Error(s)
		}
	})
}

// A question goes when who asks has gone, and a yes that comes then does nothing.
func TestConfirmGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConfirm(time.Minute, nil)
		ctx, leave := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() { got <- c.Ask(ctx, aQuestion) }()
		synctest.Wait()
		a, _, changed := c.Shown()
		leave()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-changed
		if a, _, _ := c.Shown(); a != nil {
			t.Error("still there")
		}
		if err := c.Answer(a.Number, true); !errors.Is(err, ErrNumber) {
			t.Error(err)
		}
	})
}

func TestConfirmBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewConfirm(time.Minute, nil)
		for range maxOfOne {
			go c.Ask(t.Context(), aQuestion)
		}
		synctest.Wait()
		if err := c.Ask(t.Context(), aQuestion); !errors.Is(err, errBusy) || !errors.Is(err, parley.ErrDenied) {
			t.Error(err)
		}
		// Who reaches the RPC cannot fill the queue: others still get their turn.
		rpc := aQuestion
		rpc.Client = rpcClient
		for range maxOfRPC {
			go c.Ask(t.Context(), rpc)
		}
		synctest.Wait()
		if err := c.Ask(t.Context(), rpc); !errors.Is(err, errBusy) {
			t.Error(err)
		}
		desk := aQuestion
		desk.Client = "desk"
		go c.Ask(t.Context(), desk)
		synctest.Wait()
		seen := map[string]bool{}
		for range maxOfOne + maxOfRPC + 1 {
			a, _, _ := c.Shown()
			if seen[a.Number] {
				t.Errorf("number %s twice", a.Number)
			}
			seen[a.Number] = true
			check(t, c.Answer(a.Number, false))
		}
		go c.Ask(t.Context(), aQuestion)
		synctest.Wait()
		c.Close()
		if err := c.Ask(t.Context(), aQuestion); !errors.Is(err, parley.ErrOffline) {
			t.Error(err)
		}
		synctest.Wait()
	})
}

// Neither a stray Enter nor a bare yes nor another number answers.
func TestTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &screen{}
		term := newTerminal(out)
		defer term.close()
		term.pair = func() string { return "CODE\n" }
		c := NewConfirm(time.Minute, term.told)
		term.confirm = c
		ctx, stop := context.WithCancel(t.Context())
		go term.show(ctx)
		got := make(chan error, 1)
		q := aQuestion
		q.Client = "ev\x1b[31mil\n"
		go func() { got <- c.Ask(t.Context(), q) }()
		synctest.Wait()
		a, _, _ := c.Shown()
		term.read(strings.NewReader("\n\ny\nyes\ny 000\n" + a.Number + "\nn\np\nhelp\n"))
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("answered")
		}
		term.read(strings.NewReader("Y " + a.Number + "\n"))
		if err := <-got; err != nil {
			t.Error(err)
		}
		go func() { got <- c.Ask(t.Context(), aQuestion) }()
		synctest.Wait()
		a, _, _ = c.Shown()
		term.read(strings.NewReader("no " + a.Number))
		if err := <-got; !errors.Is(err, errRejected) {
			t.Error(err)
		}
		stop()
		synctest.Wait()
		text := out.String()
		for _, want := range []string{"evil", "SEND a message of 5 bytes from alice to bob?", "58 bytes of your pad; 100 bytes are left", "denied in 1m0s", "CODE", "y and n", ": allowed.", ": denied."} {
			if want == "y and n" {
				want = "Type y or n"
			}
			if !strings.Contains(text, want) {
				t.Errorf("no %q in %s", want, text)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Error("an escape sequence is shown")
		}
	})
}

func TestQuestionTexts(t *testing.T) {
	for op, want := range map[string]string{
		OpPackage:   "SEND a message of 1 byte from alice to bob?",
		OpUnpackage: "OPEN a message of up to 1 byte from bob for alice?",
		OpGrant:     "GIVE pad of alice to bob, for ever?",
	} {
		q := Question{Op: op, Self: "alice", Peer: "bob", Message: 1, Pad: 1234567}
		if got := strings.TrimSpace(q.ask()); got != want || !strings.Contains(q.cost(), "1,234,567 bytes") {
			t.Errorf("%s: %q, %q", op, got, q.cost())
		}
	}
}
