package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A Spawn makes the command that runs [Serve] in a process of its own: the same
// program, called with its hidden command.
type Spawn func(ctx context.Context) *exec.Cmd

// A role says what a child is. It is the first line on its standard input.
type role struct {
	Role   string      `json:"role"` // "relay", "floor", "messenger"
	Dir    string      `json:"dir"`
	Listen string      `json:"listen,omitempty"`
	Work   Work        `json:"work,omitzero"`
	Pair   *pairConfig `json:"pair,omitempty"`
}

// A request is each later line, a reply each line on standard output. The first
// reply comes without a request, when the child is ready.
type request struct {
	Op   string        `json:"op"` // "usage", "collect", "bare", "profile", "drain", "stop"
	N    int           `json:"n,omitempty"`
	For  time.Duration `json:"for,omitempty"`
	File string        `json:"file,omitempty"`
}

type reply struct {
	Error   string      `json:"error,omitempty"`
	Address string      `json:"address,omitempty"`
	Usage   usage       `json:"usage,omitzero"`
	Heap    uint64      `json:"heap,omitempty"`
	Stacks  uint64      `json:"stacks,omitempty"`
	Threads int         `json:"goroutines,omitempty"`
	Bare    *BareResult `json:"bare,omitempty"`
	Got     *timelines  `json:"got,omitempty"`
}

// A child is a process under test, and the line to it.
type child struct {
	cmd     *exec.Cmd
	address string // where it listens
	in      io.WriteCloser
	out     *bufio.Reader
	pipe    *os.File
	errs    *tail
	mu      sync.Mutex // one request at a time
	ended   chan struct{}
	err     error // why it ended; set before ended is closed
}

// start runs a child and waits until it is ready.
func (s Spawn) start(ctx context.Context, r role) (*child, error) {
	cmd := s(ctx)
	c := &child{cmd: cmd, errs: &tail{}, ended: make(chan struct{})}
	cmd.Stderr = c.errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// A pipe of our own: Wait must not close it under a reader.
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = pw
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the %s process: %w", r.Role, err), pr.Close(), pw.Close())
	}
	pw.Close()
	c.in, c.out, c.pipe = in, bufio.NewReader(pr), pr
	go func() {
		c.err = cmd.Wait()
		close(c.ended)
	}()
	ready, err := c.exchange(r)
	if err != nil {
		c.kill()
		return nil, fmt.Errorf("the %s process: %w", r.Role, err)
	}
	c.address = ready.Address
	return c, nil
}

// ask sends a request and waits for its reply.
func (c *child) ask(q request) (reply, error) {
	r, err := c.exchange(q)
	if err != nil {
		return r, fmt.Errorf("%s: %w", q.Op, err)
	}
	return r, nil
}

func (c *child) exchange(line any) (reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.Marshal(line)
	if err != nil {
		return reply{}, err
	}
	if _, err := c.in.Write(append(b, '\n')); err != nil {
		return reply{}, c.why(err)
	}
	b, err = c.out.ReadBytes('\n')
	if err != nil {
		return reply{}, c.why(err)
	}
	var r reply
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("its reply %.100q: %w", b, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// why adds to err what the child said last, when it has gone.
func (c *child) why(err error) error {
	select {
	case <-c.ended:
		return fmt.Errorf("it has ended (%v): %s", c.err, c.errs)
	case <-time.After(2 * time.Second):
		return err
	}
}

// kill sends SIGKILL and waits until the process is gone.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended by itself
	<-c.ended
	c.in.Close()
	c.pipe.Close()
}

// stop lets the child end in order, and kills it after 10 s.
func (c *child) stop() error {
	_, err := c.ask(request{Op: "stop"})
	c.in.Close()
	select {
	case <-c.ended:
		c.pipe.Close()
		return errors.Join(err, c.err)
	case <-time.After(10 * time.Second):
		c.kill()
		return errors.New("the process did not stop within 10 s")
	}
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
