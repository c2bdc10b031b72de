package messenger

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name of a contact, in characters.
const MaxName = 64

// cleanName makes a name that others chose fit to be printed and typed: no
// control characters, no direction marks, single spaces, at most MaxName
// characters. It may return "".
func cleanName(s string) string {
	var b strings.Builder
	space, n := false, 0
	for _, r := range s {
		switch {
		case r == utf8.RuneError, unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			continue
		case unicode.IsSpace(r), unicode.IsControl(r):
			space = b.Len() > 0
			continue
		}
		if space {
			if n += 1; n >= MaxName {
				break
			}
			b.WriteByte(' ')
			space = false
		}
		if n++; n > MaxName {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// ownName checks a name that our user chose for a contact.
func ownName(s string) (string, error) {
	c := cleanName(s)
	if c == "" {
		return "", fmt.Errorf("%w: the name %q has no printable characters", ErrState, s)
	}
	if c != strings.TrimSpace(s) {
		return "", fmt.Errorf("%w: %q is not a name: at most %d characters, and no control characters", ErrState, s, MaxName)
	}
	return c, nil
}

// uniqueName returns base, or base-2, base-3 … when others have that name.
// Names that differ only in case count as the same.
func (t *tx) uniqueName(base string, except int64) (string, error) {
	for i := 1; ; i++ {
		name := base
		if i > 1 {
			tail := fmt.Sprintf("-%d", i)
			r := []rune(base)
			name = string(r[:min(len(r), MaxName-len(tail))]) + tail
		}
		taken, err := t.taken(name, except)
		if err != nil {
			return "", err
		}
		if !taken {
			return name, nil
		}
	}
}

// taken reports whether another contact has that name in any case.
func (t *tx) taken(name string, except int64) (bool, error) {
	rows, err := t.names()
	if err != nil {
		return false, err
	}
	for id, n := range rows {
		if id != except && strings.EqualFold(n, name) {
			return true, nil
		}
	}
	return false, nil
}

func (t *tx) names() (map[int64]string, error) {
	all := map[int64]string{}
	err := t.each("SELECT id, name FROM contacts", nil, func(scan func(...any) error) error {
		var id int64
		var n string
		if err := scan(&id, &n); err != nil {
			return err
		}
		all[id] = n
		return nil
	})
	return all, err
}

// find returns the contact of that name: exactly, else the only one that
// differs in case alone.
func (t *tx) find(name string) (int64, error) {
	all, err := t.names()
	if err != nil {
		return 0, err
	}
	var near []int64
	for id, n := range all {
		if n == name {
			return id, nil
		}
		if strings.EqualFold(n, strings.TrimSpace(name)) {
			near = append(near, id)
		}
	}
	if len(near) == 1 {
		return near[0], nil
	}
	return 0, fmt.Errorf("%w: %q (see the list of contacts)", ErrNoContact, name)
}

// placeholder names a contact whose own name is not known yet.
func (t *tx) placeholder() (string, error) {
	for i := 1; ; i++ {
		name := fmt.Sprintf("contact-%d", i)
		if taken, err := t.taken(name, 0); err != nil || !taken {
			return name, err
		}
	}
}

// learnName renames a contact that has a placeholder to the name its peer gave.
func (t *tx) learnName(contact int64, display string) error {
	display = cleanName(display)
	var named bool
	if err := t.row("SELECT named FROM contacts WHERE id = ?", contact)(&named); err != nil {
		return err
	}
	if err := t.exec("UPDATE contacts SET display = ? WHERE id = ?", display, contact); err != nil {
		return err
	}
	if named || display == "" {
		return nil
	}
	name, err := t.uniqueName(display, contact)
	if err != nil {
		return err
	}
	t.contactChanged(contact)
	return t.exec("UPDATE contacts SET name = ?, named = 1 WHERE id = ?", name, contact)
}

// Rename gives a contact another name of our choice.
func (m *Messenger) Rename(ctx context.Context, name, to string) error {
	to, err := ownName(to)
	if err != nil {
		return err
	}
	return m.tx(ctx, "rename", func(t *tx) error {
		id, err := t.find(name)
		if err != nil {
			return err
		}
		if taken, err := t.taken(to, id); err != nil || taken {
			if err == nil {
				err = fmt.Errorf("%w: %q", ErrTaken, to)
			}
			return err
		}
		t.contactChanged(id)
		return t.exec("UPDATE contacts SET name = ?, named = 1 WHERE id = ?", to, id)
	})
}
