package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// A journal is what a sender that may be killed at any moment notes beside its
// messages: "try N" before it sends number N, "sent N" after Send has returned.
// Each line is on disk before the next step.
type journal struct {
	f    *os.File
	next int // the lowest number never tried
}

const (
	noteTry  = "try"
	noteSent = "sent"
)

// openJournal opens or makes a journal and finds the next number to try.
func openJournal(path string) (*journal, error) {
	tried, _, err := readJournal(path)
	if err != nil {
		return nil, err
	}
	// What is after the last line end was cut off by a kill: end the line.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString("\n"); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journal{f, tried + 1}, nil
}

func (j *journal) note(what string, n int) error {
	if _, err := fmt.Fprintf(j.f, "%s %d\n", what, n); err != nil {
		return err
	}
	return j.f.Sync()
}

// readJournal returns the highest number that was tried, and those whose Send
// returned. A journal that isn't there is empty.
func readJournal(path string) (tried int, sent []int, err error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, nil, err
	}
	// Only lines with their end count: "sent 12" may be the start of "sent 123".
	for line := range bytes.Lines(b) {
		what, number, _ := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '})
		n, err := strconv.Atoi(string(number))
		if err != nil || line[len(line)-1] != '\n' {
			continue
		}
		switch string(what) {
		case noteTry:
			tried = max(tried, n)
		case noteSent:
			sent = append(sent, n)
		}
	}
	return tried, sent, nil
}

// judge compares what a sender noted with what its peer has, in the order of the
// peer's timeline. It returns what is wrong, and how many came.
func judge(who string, tried int, sent, got []int) (wrong []string) {
	seen := make(map[int]int)
	last := 0
	for _, n := range got {
		if n < 1 || n > tried {
			wrong = append(wrong, fmt.Sprintf("%s never sent %d, but it came", who, n))
		}
		if seen[n]++; seen[n] == 2 {
			wrong = append(wrong, fmt.Sprintf("%d from %s is there more than once", n, who))
		} else if seen[n] == 1 && n < last {
			wrong = append(wrong, fmt.Sprintf("%d from %s came after %d", n, who, last))
		}
		last = max(last, n)
	}
	for _, n := range sent {
		if seen[n] == 0 {
			wrong = append(wrong, fmt.Sprintf("%s sent %d, and it never came", who, n))
		}
	}
	return wrong
}
