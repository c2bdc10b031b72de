package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// A scripted is a mail server that greets with a line and speaks plain SMTP, until
// it does what its test wants.
type scripted struct {
	l     net.Listener
	greet string
	// answer is asked for each command; an empty answer is silence until the client
	// goes, "-" the end of the connection. Without it, mails are taken.
	answer func(conn int, line string) (reply string, own bool)

	mu    sync.Mutex
	conns int
	got   []string // recipients of mails that were taken
	done  sync.WaitGroup
}

// newScripted listens; a greeting without a code is not SMTP, an empty one is the end
// of the connection.
func newScripted(t *testing.T, greet string) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{l: l, greet: greet}
	s.done.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			s.done.Go(func() { s.serve(n, c) })
		}
	})
	t.Cleanup(func() { l.Close(); s.done.Wait() })
	return s
}

func (s *scripted) mail() *Mail {
	return &Mail{Host: "127.0.0.1", Port: s.l.Addr().(*net.TCPAddr).Port, From: "a@b"}
}

func (s *scripted) serve(n int, c net.Conn) {
	defer c.Close()
	if s.greet == "" {
		return
	}
	fmt.Fprintf(c, "%s\r\n", s.greet)
	if !strings.HasPrefix(s.greet, "220") {
		io.Copy(io.Discard, c)
		return
	}
	r := textproto.NewReader(bufio.NewReader(c))
	to := ""
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		reply, own := "250 ok", false
		if s.answer != nil {
			if text, mine := s.answer(n, line); mine {
				reply, own = text, true
			}
		}
		switch {
		case own && reply == "":
			io.Copy(io.Discard, c)
			return
		case own && reply == "-":
			return
		case own:
		case strings.HasPrefix(line, "RCPT TO:"):
			to = strings.Trim(strings.TrimPrefix(line, "RCPT TO:"), "<>")
		case line == "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			if _, err := r.ReadDotLines(); err != nil {
				return
			}
			s.mu.Lock()
			s.got = append(s.got, to)
			s.mu.Unlock()
		case line == "QUIT":
			reply = "221 bye"
		}
		fmt.Fprintf(c, "%s\r\n", reply)
	}
}

func (s *scripted) seen() (conns int, got string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns, strings.Join(s.got, " ")
}

// queue puts mails to a@mail.example, b@… into the outbox.
func (w *world) queue(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if rec := w.ask("POST", "/users", registration("user-"+name, name+"@mail.example", pairOf("alice").keys(), nil)); rec.Code != 201 {
			w.t.Fatal(rec.Code, rec.Body)
		}
	}
}

// A server that takes mails and never says good-bye holds nothing up, and several
// mails go over one connection.
func TestManyMailsOneTrip(t *testing.T) {
	s := newScripted(t, "220 hello")
	s.answer = func(_ int, line string) (string, bool) { return "", line == "QUIT" }
	w := newWorld(t, Options{Mail: s.mail()})
	w.queue("a", "b", "c")
	begin := time.Now()
	w.send()
	if conns, got := s.seen(); conns != 1 || got != "a@mail.example b@mail.example c@mail.example" {
		t.Errorf("%d connections, %s", conns, got)
	}
	if took := time.Since(begin); took > 10*quitPatience {
		t.Errorf("it took %v", took)
	}
}

// A mail that the server is silent about is put off after its time, and those behind
// it are sent; so are those behind one that is refused.
func TestOneMailDoesNotHoldTheOthers(t *testing.T) {
	for what, x := range map[string]struct {
		answer func(conn int, line string) (string, bool)
		conns  int
		waits  int64
	}{
		"silent": {func(_ int, line string) (string, bool) { return "", line == "RCPT TO:<b@mail.example>" }, 2, 1},
		"put off": {func(_ int, line string) (string, bool) {
			return "451 b@mail.example later", line == "RCPT TO:<b@mail.example>"
		}, 1, 1},
		"refused": {func(_ int, line string) (string, bool) {
			return "550 b@mail.example no", line == "RCPT TO:<b@mail.example>"
		}, 1, 0},
		"cut off": {func(_ int, line string) (string, bool) { return "-", line == "RCPT TO:<b@mail.example>" }, 3, 1},
		"one a trip": {func(conn int, line string) (string, bool) {
			return "421 enough", strings.HasPrefix(line, "MAIL") && conn == 0 || line == "RCPT TO:<b@mail.example>"
		}, 3, 1},
	} {
		var told []string
		s := newScripted(t, "220 hello")
		s.answer = x.answer
		m := s.mail()
		m.patience = 300 * time.Millisecond
		w := newWorld(t, Options{Mail: m, Trouble: func(_ string, err error) { told = append(told, err.Error()) }})
		w.queue("a", "b", "c")
		w.send()
		var waits int64
		w.d.store.read(func(c *conn) (err error) { waits, err = c.Int64("SELECT count(*) FROM outbox"); return err })
		conns, got := s.seen()
		if what == "one a trip" { // a is put off by the first connection, b by both
			x.waits, x.conns = 2, conns
			if got != "c@mail.example" {
				t.Errorf("%s: %s", what, got)
			}
		} else if got != "a@mail.example c@mail.example" {
			t.Errorf("%s: %s", what, got)
		}
		if conns != x.conns || waits != x.waits {
			t.Errorf("%s: %d connections, %d wait, told %q", what, conns, waits, told)
		}
		for _, text := range told {
			if strings.Contains(text, "mail.example") {
				t.Errorf("%s: told %s", what, text)
			}
		}
	}
}

// A server that ends a connection after each mail gets each.
func TestServerThatEndsTrips(t *testing.T) {
	s := newScripted(t, "220 hello")
	mails := map[int]int{}
	s.answer = func(conn int, line string) (string, bool) {
		if !strings.HasPrefix(line, "MAIL") {
			return "", false
		}
		mails[conn]++
		return "421 one is enough", mails[conn] > 1
	}
	w := newWorld(t, Options{Mail: s.mail()})
	w.queue("a", "b", "c")
	w.send()
	if conns, got := s.seen(); conns != 3 || got != "a@mail.example b@mail.example c@mail.example" {
		t.Errorf("%d connections, %s", conns, got)
	}
}

// A server that nobody can log in to is asked once, not for each mail; no mail costs
// a token, and each is counted for its mailbox once.
func TestOneLoginForAll(t *testing.T) {
	told := 0
	s := newScripted(t, "421 later")
	w := newWorld(t, Options{Mail: s.mail(), Trouble: func(string, error) { told++ }})
	w.queue("a", "b", "c")
	w.send()
	var links, tries int64
	w.d.store.read(func(c *conn) (err error) {
		links, err = c.Int64("SELECT count(*) FROM link")
		n, err2 := c.Int64("SELECT sum(tries) FROM outbox")
		tries = n
		return errors.Join(err, err2)
	})
	if conns, _ := s.seen(); conns != 1 || links != 0 || tries != 3 || told != 3 {
		t.Errorf("%d connections, %d links, %d tries, told %d times", conns, links, tries, told)
	}
}

// Mails and passwords go to another machine over TLS alone.
func TestNoSTARTTLS(t *testing.T) {
	s := newScripted(t, "220 hello")
	conn, err := net.Dial("tcp", s.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = (&smtpTrip{m: &Mail{Host: "mail.example", User: "u", Password: "hunter2"}, conn: conn}).logIn()
	if err == nil || !strings.Contains(err.Error(), "offers no STARTTLS") {
		t.Error(err)
	}
}
