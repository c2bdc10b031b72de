package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"parley/paddevice"
	"parley/paddevice/server"
)

// folder is the flag that all commands have.
type folder struct {
	Dir string `required:"" type:"path" env:"PARLEY_PAD_DIR" placeholder:"DIR" help:"Folder of the pads."`
}

// marked is for commands that write or check the event log.
type marked struct {
	folder
	Marks string `type:"path" placeholder:"DIR" help:"Folder of the marks that show when something in the folder of pads was put back. Default: ~/.local/state/parley/marks"`
}

func (m *marked) marks() (string, error) {
	if m.Marks != "" {
		return m.Marks, nil
	}
	return server.MarksDir()
}

type serveCmd struct {
	marked
	Listen         string        `placeholder:"HOST:PORT" help:"Serve the original's RPC here, in the clear: a loopback address."`
	PointToPoint   bool          `help:"Let --listen be an address of a cable with nothing but your computer at its other end."`
	Paired         string        `placeholder:"HOST:PORT" help:"Serve the paired channel here, encrypted and authenticated."`
	Page           string        `default:"127.0.0.1:0" placeholder:"HOST:PORT" help:"Serve the confirmation page here, a loopback address for a display at the device. Default: ${default}"`
	NoPage         bool          `help:"Serve no page: ask at the terminal only."`
	AllowAll       bool          `help:"Allow every request and ask nobody. For tests."`
	ConfirmTimeout time.Duration `default:"60s" placeholder:"TIME" help:"How long somebody has to answer before it counts as no. Default: ${default}"`
}

func (c *serveCmd) Run(io *console) error {
	marks, err := c.marks()
	if err != nil {
		return err
	}
	if c.ConfirmTimeout < time.Second || c.ConfirmTimeout > time.Hour {
		return fmt.Errorf("%w: --confirm-timeout is 1s to 1h", errUsage)
	}
	// From here on a signal ends the device in order, also while it starts.
	signals := []os.Signal{syscall.SIGTERM, os.Interrupt}
	if !signal.Ignored(syscall.SIGHUP) { // a terminal that is closed; nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	o := server.Options{
		Dir: c.Dir, Marks: marks, Listen: c.Listen, PointToPoint: c.PointToPoint, Paired: c.Paired, Page: c.Page,
		AllowAll: c.AllowAll, Timeout: c.ConfirmTimeout, Out: io.err,
		Pairing: func(code paddevice.Code) string { return codeText(code, io.err) },
	}
	if io.in != nil {
		background()
		o.In = io.in
	}
	if c.NoPage {
		o.Page = ""
	}
	s, err := server.Start(o)
	if err != nil {
		return err
	}
	lines := s.Addresses
	if s.PageURL != "" {
		lines = append(lines, "page "+s.PageURL)
	}
	// In one piece: who waits for the first address may look for the others, too. Nobody may
	// read it, and a signal still ends the device.
	written := make(chan error, 1)
	go func() {
		_, err := fmt.Fprintln(io.out, strings.Join(lines, "\n"))
		written <- err
	}()
	for running := true; running && err == nil; {
		select {
		case err = <-written:
			written = nil
		case err = <-s.Failed():
			running = false
		case <-ctx.Done():
			running = false
		}
	}
	stop() // a second signal ends it at once
	if e := s.Shutdown(context.Background()); err == nil {
		err = e
	}
	return err
}
