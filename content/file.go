package content

import (
	"errors"
	"fmt"
	"strings"

	"parley"
)

// A FileManifest announces a file; its chunks travel apart, sealed with Key.
type FileManifest struct {
	Name      string         // 1 to MaxFileName bytes, with no path in it
	MediaType string         // such as image/png; may be empty; the sender's word
	Size      uint64         // of the file in bytes, up to MaxFile
	SHA256    [32]byte       // of the whole file
	Key       [32]byte       // fresh for each file
	Chunk     uint32         // size of all chunks but the last in bytes, 1 to MaxChunk
	Where     parley.Address // a mailbox of their own, or the URL of a blob store
}

// AMP returns [parley.File].
func (FileManifest) AMP() parley.AMP { return parley.File }

func (e FileManifest) check() error {
	if err := checkFileName(e.Name); err != nil {
		return err
	}
	if len(e.MediaType) > MaxFileName || strings.Trim(strings.ToLower(e.MediaType), "abcdefghijklmnopqrstuvwxyz0123456789/+-.") != "" {
		return errors.New("the media type is not one")
	}
	if e.Size > MaxFile {
		return fmt.Errorf("the file is %w: %d bytes, at most %d", ErrTooLong, e.Size, uint64(MaxFile))
	}
	if e.Key == ([32]byte{}) {
		return errors.New("the file has no key")
	}
	if e.Chunk < 1 || e.Chunk > MaxChunk {
		return fmt.Errorf("chunks of %d bytes, not 1 to %d", e.Chunk, MaxChunk)
	}
	return checkAddress(e.Where)
}

// checkFileName refuses what could name another place than the folder the
// receiver chose.
func checkFileName(s string) error {
	if s == "" || s == "." || s == ".." || strings.ContainsAny(s, `/\`) {
		return errors.New("the file's name is empty or a path")
	}
	if err := checkText("the file's name", s, MaxFileName); err != nil {
		return err
	}
	return checkRunes("the file's name", s)
}

func (e FileManifest) append(b []byte) []byte {
	b = putString(b, 1, e.Name)
	b = putString(b, 2, e.MediaType)
	b = putUint(b, 3, e.Size)
	b = putElement(b, 4, e.SHA256[:])
	b = putElement(b, 5, e.Key[:])
	b = putUint(b, 6, uint64(e.Chunk))
	return putString(b, 7, string(e.Where))
}

func decodeFile(body []byte) (Event, error) {
	var e FileManifest
	err := parse(body, slots{
		1: toString(&e.Name),
		2: toString(&e.MediaType),
		3: toUint(&e.Size),
		4: toArray(e.SHA256[:]),
		5: toArray(e.Key[:]),
		6: toUint(&e.Chunk),
		7: toString(&e.Where),
	})
	return e, err
}
