package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"parley/server"
)

type mqttUserCmd struct {
	Name string `arg:"" help:"The user's name."`
}

// Run reads a password and prints the line that lets the user in.
func (m *mqttUserCmd) Run(out io.Writer) error {
	password, err := readPassword(os.Stdin, os.Stderr)
	if err != nil {
		return err
	}
	line, err := server.MQTTUser(m.Name, password)
	if err != nil {
		return fmt.Errorf("%w: %w", server.ErrConfig, err)
	}
	_, err = fmt.Fprintln(out, line)
	return err
}

// readPassword asks for the password twice at a terminal, else takes the first
// line of the input.
func readPassword(in *os.File, prompt io.Writer) ([]byte, error) {
	if !term.IsTerminal(int(in.Fd())) {
		lines := bufio.NewScanner(io.LimitReader(in, 4096))
		if !lines.Scan() {
			return nil, fmt.Errorf("%w: no password on standard input", server.ErrConfig)
		}
		return lines.Bytes(), lines.Err()
	}
	var twice [2][]byte
	for i, ask := range []string{"Password: ", "The same again: "} {
		fmt.Fprint(prompt, ask)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(prompt)
		if err != nil {
			return nil, err
		}
		twice[i] = b
	}
	if string(twice[0]) != string(twice[1]) {
		return nil, errors.New("the two passwords differ")
	}
	return twice[0], nil
}
