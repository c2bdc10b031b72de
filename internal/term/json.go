package term

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// JSON encodes v as one line without its LF. Beyond what encoding/json escapes,
// it escapes DEL, C1 controls and characters that [Misleading] names: output
// that goes to a terminal is then as harmless as a file, and no value changes.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	in := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); {
		r, n := utf8.DecodeRune(in[i:])
		if (0x7f <= r && r < 0xa0) || Misleading(r) { // outside ASCII only inside strings
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, in[i:i+n]...)
		}
		i += n
	}
	return out, nil
}
