package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line with --lines, in bytes: a text of 16 MiB has twice
// that in hex.
const maxLine = 64 << 20

var errLongLine = errors.New("the line is too long")

// lineReader reads lines that end with LF or CRLF; the last may lack its end.
type lineReader struct {
	in  *bufio.Reader
	max int
}

// next returns the next line without its end. [errLongLine] says that a line was
// skipped, and reading can go on; io.EOF that there is none.
func (r *lineReader) next() ([]byte, error) {
	var line []byte
	long, any := false, false
	for {
		part, err := r.in.ReadSlice('\n')
		any = any || len(part) > 0
		if !long && len(line)+len(part) > r.max+2 { // with its end
			long, line = true, nil
		}
		if !long {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && !any:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("standard input: %w", err)
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if long || len(line) > r.max {
			return nil, fmt.Errorf("%w: more than %d bytes", errLongLine, r.max)
		}
		return line, nil
	}
}

// eachLine gives do each line of standard input with its number, from 1, until
// the input or ctx ends, or do fails. A line that is too long comes as an error.
func (a *app) eachLine(ctx context.Context, do func(n int, line []byte, err error) error) error {
	type item struct {
		line []byte
		err  error
	}
	items, ended := make(chan item), make(chan struct{})
	defer close(ended)
	go func() {
		r := lineReader{in: a.in, max: maxLine}
		for {
			line, err := r.next()
			select {
			case items <- item{line, err}:
			case <-ended:
				return
			}
			if err != nil && !errors.Is(err, errLongLine) {
				return
			}
		}
	}()
	for n := 1; ; n++ {
		select {
		case i := <-items:
			if errors.Is(i.err, io.EOF) {
				return nil
			}
			if i.err != nil && !errors.Is(i.err, errLongLine) {
				return i.err
			}
			if err := do(n, i.line, i.err); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
