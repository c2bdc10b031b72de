package remote

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// A frame is one line: a request has ID and Method, a notification Method, a
// response ID and one of Result and Error.
type frame struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      *uint64         `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *Error          `json:"error,omitempty"`
}

func (f *frame) valid() bool {
	if f.Method != "" {
		return f.Result == nil && f.Error == nil
	}
	return (f.Result == nil) != (f.Error == nil) && (f.ID != nil || f.Error != nil)
}

// lastWord is the answer to a line that could not be read: JSON-RPC 2.0 wants a
// null ID there. The connection ends after it.
type lastWord struct {
	JSONRPC string  `json:"jsonrpc"`
	ID      *uint64 `json:"id"`
	Error   *Error  `json:"error"`
}

// streamed is the parameters of all that belongs to a request: show, item,
// changed, cancel.
type streamed struct {
	Stream uint64          `json:"stream"`
	Value  json.RawMessage `json:"value,omitempty"`
}

var (
	errLong    = fmt.Errorf("a line is longer than %d bytes", MaxLine)
	errInvalid = errors.New("not a JSON-RPC 2.0 object")
)

// A wire reads and writes frames. Reading is for one goroutine, writing for any.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	mu   sync.Mutex // held while a line is written
}

func newWire(c net.Conn) *wire { return &wire{conn: c, in: bufio.NewReaderSize(c, 8<<10)} }

// read returns the next frame. Blank lines are skipped; a line that is not a
// frame is errInvalid, a longer one than MaxLine errLong.
func (w *wire) read() (*frame, error) {
	for {
		line, err := w.line()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var f frame
		if err := decode(line, &f); err != nil || f.JSONRPC != "2.0" {
			return nil, errInvalid
		}
		if !f.valid() {
			return nil, errInvalid
		}
		return &f, nil
	}
}

func (w *wire) line() ([]byte, error) {
	var line []byte
	for {
		part, err := w.in.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			return nil, errLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// write sends one frame. A far side that does not read for writeTimeout loses
// the connection: half a line cannot be taken back.
func (w *wire) write(f *frame) error {
	f.JSONRPC = "2.0"
	return w.put(f)
}

func (w *wire) put(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	b = append(b, '\n')
	if len(b) > MaxLine {
		return errLong
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.conn.Write(b); err != nil {
		w.conn.Close()
		return err
	}
	return nil
}

func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // all our types can be encoded
		panic("remote: " + err.Error())
	}
	return b
}
