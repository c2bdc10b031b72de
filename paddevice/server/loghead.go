package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"parley/internal/keyfile"
)

// head is the mark of a log, which is kept outside its folder: where the log ends. Lines
// are those that are being written behind it: they are in the mark before they are in the
// log, so that what a crash has left undone and what somebody has cut off or added are
// told apart.
type head struct {
	N     int64    `json:"n"`
	Size  int64    `json:"size"` // bytes
	Hash  string   `json:"hash"` // of line N
	Lines []string `json:"lines,omitempty"`
	// Broken is how the log was first found changed, and From is the line that tells of
	// the last time: what comes behind it follows from it.
	Broken string `json:"broken,omitempty"`
	From   int64  `json:"from,omitempty"`
}

// at moves a mark to a log's end, with nothing being written.
func (h head) at(t tail) head {
	h.N, h.Size, h.Hash, h.Lines = t.n, t.size, hex.EncodeToString(t.hash[:]), nil
	return h
}

// is reports whether the log ends at t and nothing is being written.
func (h *head) is(t tail) bool {
	return h != nil && len(h.Lines) == 0 && h.N == t.n && h.Size == t.size && h.Hash == hex.EncodeToString(t.hash[:])
}

// headPath is by the folder's path: a log that was removed is missed, too.
func headPath(dir, marks string) string {
	sum := sha256.Sum256([]byte(realPath(dir)))
	return filepath.Join(marks, "events-"+hex.EncodeToString(sum[:8]))
}

// realPath is one name for a folder.
func realPath(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return dir
}

// readHead returns nil if there is none, and [ErrLog] if it is damaged.
func readHead(dir, marks string) (*head, error) {
	path := headPath(dir, marks)
	b, err := keyfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil && !errors.Is(err, keyfile.ErrFormat) {
		return nil, fmt.Errorf("the mark of the event log: %w", err)
	}
	h := &head{}
	if err == nil {
		err = json.Unmarshal(b, h)
	}
	if err != nil || h.N < 0 || h.Size < 0 || len(h.Hash) != 2*sha256.Size {
		return nil, fmt.Errorf("%w, or its mark was: %s is damaged, and nothing says where the log should end. To go on, remove that file: the log then says that it has begun without a mark", ErrLog, path)
	}
	return h, nil
}

func writeHead(dir, marks string, h head) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(marks, 0o700); err != nil {
		return err
	}
	return keyfile.Replace(headPath(dir, marks), append(b, '\n'))
}

// MarksDir is the default folder of marks, which padstore uses as well.
func MarksDir() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("there is no folder for marks: give one: %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "parley", "marks"), nil
}
