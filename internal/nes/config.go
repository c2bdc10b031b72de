package nes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"parley/internal/keyfile"
)

// Bounds of a config file in bytes.
const (
	maxConfig     = 64 << 10
	maxConfigLine = 4096
)

// ErrConfig means that a config file is not in the form that ParseConfig reads.
var ErrConfig = errors.New("config file")

// ParseConfig reads the lines KEY = VALUE of a dotenv file. Empty lines count for
// nothing, nor does what follows a # at the beginning of a line or behind a space. A
// value may stand in single quotes, where nothing is special, or in double ones, where
// \" and \\ are; there is no $. A key that comes twice is an error. No error
// repeats a value: it may be a password.
func ParseConfig(b []byte) (map[string]string, error) {
	values, _, err := parseConfig(b)
	return values, err
}

// parseConfig is ParseConfig, and tells in which line each key is.
func parseConfig(b []byte) (values map[string]string, lines map[string]int, err error) {
	if len(b) > maxConfig {
		return nil, nil, fmt.Errorf("%w: longer than %d bytes", ErrConfig, maxConfig)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	values, lines = map[string]string{}, map[string]int{}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		key, value, err := parseLine(strings.TrimRight(line, "\r\n"))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: line %d: %w", ErrConfig, n, err)
		}
		if key == "" {
			continue
		}
		if _, twice := values[key]; twice {
			return nil, nil, fmt.Errorf("%w: line %d: %s comes twice", ErrConfig, n, key)
		}
		values[key], lines[key] = value, n
	}
	return values, lines, nil
}

// parseLine returns an empty key for a line that says nothing.
func parseLine(line string) (key, value string, err error) {
	if len(line) > maxConfigLine || !utf8.ValidString(line) {
		return "", "", fmt.Errorf("not UTF-8, or longer than %d bytes", maxConfigLine)
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return "", "", errors.New("a control character")
	}
	line = strings.Trim(line, " \t")
	if line == "" || line[0] == '#' {
		return "", "", nil
	}
	key, rest, ok := strings.Cut(line, "=")
	key = strings.TrimRight(key, " \t")
	if name, exported := strings.CutPrefix(key, "export "); exported { // and not a key of that name
		key = strings.TrimLeft(name, " \t")
	}
	if !ok || !isKey(key) {
		return "", "", errors.New("not of the form KEY = VALUE")
	}
	value, err = parseValue(strings.TrimLeft(rest, " \t"))
	return key, value, err
}

func isKey(s string) bool {
	return s != "" && (s[0] < '0' || s[0] > '9') && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

func parseValue(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		for i := range len(s) {
			if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
				s = s[:i]
				break
			}
		}
		return strings.TrimRight(s, " \t"), nil
	}
	var b strings.Builder
	quote, i := s[0], 1
	for ; i < len(s) && s[i] != quote; i++ {
		if quote == '"' && s[i] == '\\' {
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", errors.New(`only \" and \\ may follow a backslash in double quotes`)
			}
		}
		b.WriteByte(s[i])
	}
	if i == len(s) {
		return "", errors.New("a quote that does not end")
	}
	if rest := strings.TrimLeft(s[i+1:], " \t"); rest != "" && rest[0] != '#' {
		return "", errors.New("something follows the quotes")
	}
	return b.String(), nil
}

// formatValue writes a value so that parseValue reads it.
func formatValue(s string) string {
	if strings.Trim(s, " \t") == s && !strings.ContainsAny(s, `"'#\`) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// ReadConfig reads a config file. The error of one that is not there is
// [fs.ErrNotExist].
func ReadConfig(path string) (map[string]string, error) {
	v, _, err := readConfig(path)
	return v, err
}

func readConfig(path string) (values map[string]string, lines map[string]int, err error) {
	b, err := readBounded(path, maxConfig)
	if err != nil {
		return nil, nil, err
	}
	if values, lines, err = parseConfig(b); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, lines, nil
}

// readBounded reads a regular file of at most limit bytes and one more.
func readBounded(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// StoreConfig changes values of a config file, or makes one of mode 0600. Everything
// else in it stays, comments too. A symbolic link stays one: the file that it leads to
// is changed.
func StoreConfig(path string, values map[string]string) error {
	path, err := behindLinks(path)
	if err != nil {
		return err
	}
	old, err := readBounded(path, maxConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := ParseConfig(old); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var b strings.Builder
	left := keysOf(values)
	for line := range strings.Lines(string(old)) {
		key, _, _ := parseLine(strings.TrimRight(strings.TrimPrefix(line, "\ufeff"), "\r\n"))
		if i := slices.Index(left, key); i >= 0 {
			line = key + " = " + formatValue(values[key]) + "\n"
			left = slices.Delete(left, i, i+1)
		}
		b.WriteString(line)
	}
	if s := b.String(); s != "" && !strings.HasSuffix(s, "\n") {
		b.WriteByte('\n')
	}
	for _, key := range left {
		b.WriteString(key + " = " + formatValue(values[key]) + "\n")
	}
	if _, err := ParseConfig([]byte(b.String())); err != nil {
		return fmt.Errorf("a value that a config file cannot hold: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return keyfile.Replace(path, []byte(b.String()))
}

// behindLinks returns where a symbolic link leads to, though nothing need be there yet.
func behindLinks(path string) (string, error) {
	for range 40 {
		to, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link, or nothing
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(path) + string(os.PathSeparator) + to // uncleaned: folders may be links, too
		}
		path = to
	}
	return "", fmt.Errorf("%s: symbolic links without an end", path)
}

func keysOf(m map[string]string) []string {
	var keys []string
	for _, f := range Fields {
		if _, ok := m[f.Name]; ok {
			keys = append(keys, f.Name)
		}
	}
	return keys
}
