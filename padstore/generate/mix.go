package generate

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

const (
	chunk  = 1 << 20
	small  = 16 << 10 // the chunk when a device is among the sources: some give a few KB a second
	ahead  = 4        // chunks of each source that may wait
	block  = 4096
	alike  = 16 // two good sources never agree on so many bytes at one place
	notEnd = "it ended after %d bytes, and %d are needed"
)

// stream reads and tests one source ahead of the mixer.
type stream struct {
	src  *opened
	full chan []byte // closed after the last, or when err is set
	free chan []byte
	err  error
}

func (s *stream) run(ctx context.Context, need int64) {
	defer close(s.full)
	var health Health
	for done := int64(0); done < need; {
		var b []byte
		select {
		case b = <-s.free:
		case <-ctx.Done():
			return
		}
		b = b[:min(int64(cap(b)), need-done)]
		n, err := io.ReadFull(s.src.r, b)
		if err != nil {
			s.err = s.failed(ctx, err, done+int64(n), need)
			return
		}
		if err := health.Test(b); err != nil {
			s.err = fmt.Errorf("%s: %w; no pad was made", s.src.Name, err)
			return
		}
		done += int64(n)
		select {
		case s.full <- b:
		case <-ctx.Done():
			return
		}
	}
}

func (s *stream) failed(ctx context.Context, err error, got, need int64) error {
	switch {
	case ctx.Err() != nil:
		return nil // who closed the source knows why
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s: "+notEnd, ErrSource, s.src.Name, got, need)
	}
	return fmt.Errorf("%w: %w", ErrSource, err)
}

// next returns the stream's next chunk.
func (s *stream) next(ctx context.Context) ([]byte, error) {
	select {
	case b, ok := <-s.full:
		if ok {
			return b, nil
		}
	case <-ctx.Done():
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return nil, s.err
}

// mix gives the XOR of need bytes of all sources to each of the writers at once, chunk by
// chunk and in order. What it holds in memory does not depend on need. It closes the
// sources when it ends; a device that gives nothing cannot hold it up.
func mix(ctx context.Context, sources []*opened, need int64, writers ...func(p []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer closeAll(sources)
	size := chunk
	for _, src := range sources {
		if src.Kind == device {
			size = small
		}
	}
	streams := make([]*stream, len(sources))
	for i, src := range sources {
		s := &stream{src: src, full: make(chan []byte, ahead), free: make(chan []byte, ahead)}
		for range ahead {
			s.free <- make([]byte, size)
		}
		streams[i] = s
		go s.run(ctx, need)
	}
	fan := newFan(writers)
	err := mixed(ctx, streams, need, fan)
	if failed := fan.close(); failed != nil {
		return failed
	}
	return err
}

func mixed(ctx context.Context, streams []*stream, need int64, fan *fan) error {
	var health Health
	parts := make([][]byte, len(streams))
	for done := int64(0); done < need; {
		for i, s := range streams {
			b, err := s.next(ctx)
			if err != nil {
				return err
			}
			parts[i] = b
		}
		if i, j := equalParts(parts); j > 0 {
			return fmt.Errorf("%w: %s and %s give the same bytes, and their XOR is zero; no pad was made", ErrEqual, streams[i].src.Name, streams[j].src.Name)
		}
		for i, b := range parts[1:] {
			subtle.XORBytes(parts[0], parts[0], b)
			streams[i+1].free <- b[:cap(b)]
		}
		if len(parts) > 1 { // what is the XOR of others shows here
			if err := health.Test(parts[0]); err != nil {
				return fmt.Errorf("%w: the sources depend on each other: their XOR: %w; no pad was made", ErrEqual, err)
			}
		}
		done += int64(len(parts[0]))
		if err := fan.write(ctx, parts[0], streams[0].free); err != nil {
			return err
		}
	}
	return nil
}

// equalParts returns two parts that have a block in common, or 0, 0.
func equalParts(parts [][]byte) (i, j int) {
	for j := 1; j < len(parts); j++ {
		for i := range j {
			for at := 0; at < len(parts[i]); at += block {
				end := min(at+block, len(parts[i]))
				if end-at >= alike && bytes.Equal(parts[i][at:end], parts[j][at:end]) {
					return i, j
				}
			}
		}
	}
	return 0, 0
}
