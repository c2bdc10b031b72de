package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"parley"
	"parley/internal/term"
	"parley/paddevice/client"
)

// padPairCmd makes this computer known to a pad device.
type padPairCmd struct {
	Code    []string      `arg:"" help:"What parley-pad pair shows on the device; it works once, for ten minutes."`
	Name    string        `placeholder:"NAME" help:"What the device is to call this computer; by default its host name."`
	Dir     string        `placeholder:"DIR" type:"path" help:"Where to keep the pairing, which is as secret as a key; by default parley in the user's configuration folder."`
	Timeout time.Duration `default:"30s" help:"How long to wait for the device."`
}

func (c *padPairCmd) Run(ctx context.Context, a *app) error {
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil || host == "" {
			return usage("this computer has no name: give one with --name")
		}
		c.Name = host
	}
	if c.Dir == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return usage("no configuration folder (%w): give --dir", err)
		}
		c.Dir = filepath.Join(dir, "parley")
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return err
		}
	}
	timed, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	code := ""
	for _, part := range c.Code {
		code += part
	}
	path, err := client.Pair(timed, code, c.Name, c.Dir)
	switch {
	case errors.Is(err, parley.ErrMalformed):
		return &ownCode{exitUsage, err}
	case errors.Is(err, parley.ErrOffline), errors.Is(err, context.DeadlineExceeded):
		return &ownCode{exitRelay, fmt.Errorf("the pad device does not answer: %w", err)}
	case errors.Is(err, parley.ErrDenied):
		return &ownCode{exitState, err}
	case errors.Is(err, parley.ErrUntrusted):
		return &ownCode{exitMismatch, err}
	case err != nil:
		return padError(err)
	}
	r := struct {
		File string `json:"file"`
		Name string `json:"name"`
	}{path, c.Name}
	return a.result(r, func() string {
		return fmt.Sprintf("Paired: the device calls this computer %s.\nThe pairing is in %s. Then: parley contact add-pad --device %[2]s --self YOU --peer THEM --relay otc://HOST:PORT\n", term.Line(c.Name), term.Line(path))
	})
}
