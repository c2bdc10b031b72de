package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"parley/internal/keyfile"
)

// nextRefName holds, for each user and relay, the first message not seen: the original's
// file, with the original's layout.
const nextRefName = "nextref.json"

// maxServers and maxServerName bound what whoever reaches the RPC can have written.
const (
	maxServers    = 64
	maxServerName = 512
)

type nextRefs map[string]map[string]json.RawMessage

// readNextRefs takes a file that cannot be read for an empty one, as the original does.
func readNextRefs(dir string) (nextRefs, error) {
	b, err := os.ReadFile(filepath.Join(dir, nextRefName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := nextRefs{}
	if len(b) > keyfile.MaxSize || json.Unmarshal(b, &all) != nil {
		all = nextRefs{}
	}
	return all, nil
}

// nextRef returns null or a number.
func nextRef(dir, uid, server string) (json.RawMessage, error) {
	all, err := readNextRefs(dir)
	if err != nil {
		return nil, err
	}
	if ref, ok := all[uid][server]; ok {
		return ref, nil
	}
	return json.RawMessage("null"), nil
}

// saveNextRef is for the users whose pads are here: the caller knows.
func saveNextRef(ctx context.Context, dir, uid, server string, ref int64) error {
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := readNextRefs(dir)
	if err != nil {
		return err
	}
	if _, there := all[uid][server]; !there && (len(all[uid]) >= maxServers || len(server) > maxServerName) {
		return fmt.Errorf("%s holds %d relays for each user, with names of up to %d bytes", nextRefName, maxServers, maxServerName)
	}
	if all[uid] == nil {
		all[uid] = map[string]json.RawMessage{}
	}
	all[uid][server] = json.RawMessage(fmt.Sprint(ref))
	b, err := all.text()
	if err != nil {
		return err
	}
	if len(b) > keyfile.MaxSize {
		return fmt.Errorf("%s would be longer than %d bytes", nextRefName, keyfile.MaxSize)
	}
	return keyfile.Replace(filepath.Join(dir, nextRefName), b)
}

// text is the file as the original writes it: sorted, four spaces, only ASCII, no line
// end behind it.
func (r nextRefs) text() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	if err := e.Encode(r); err != nil {
		return nil, err
	}
	var ascii strings.Builder
	for _, c := range strings.TrimSuffix(out.String(), "\n") {
		switch {
		case c < 0x80:
			ascii.WriteRune(c)
		case c < 0x10000:
			fmt.Fprintf(&ascii, `\u%04x`, c)
		default:
			a, b := utf16.EncodeRune(c)
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, a, b)
		}
	}
	return []byte(ascii.String()), nil
}
