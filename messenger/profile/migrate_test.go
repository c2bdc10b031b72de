package profile

import (
	"errors"
	"strings"
	"testing"
)

func TestMigrations(t *testing.T) {
	p, dir := newProfile(t)
	note(t, p, "one")
	p.Close()
	steps := func(more ...string) Options {
		o := options()
		o.Migrations = append([]string{tables[0]}, more...)
		return o
	}
	const second = "ALTER TABLE notes ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'; CREATE INDEX notes_mood ON notes (mood)"

	// A step that fails half-way changes nothing, and names itself.
	_, err := Open(dir, steps(second, "CREATE TABLE half (x); CREATE TABLE notes (x)"))
	if err == nil || !strings.Contains(err.Error(), "step 3") {
		t.Fatal(err)
	}
	p, err = Open(dir, steps(second))
	if err != nil {
		t.Fatal(err)
	}
	var mood string
	var half int
	p.DB().QueryRow("SELECT mood FROM notes").Scan(&mood)
	p.DB().QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").Scan(&half)
	if mood != "calm" || half != 0 || notes(t, p) != "one" {
		t.Error(mood, half)
	}
	p.Close()

	// Done once only, and an older program keeps its hands off.
	if p, err = Open(dir, steps(second)); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := Open(dir, options()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "version 2, known are 1") {
		t.Fatalf("older program: %v", err)
	}
	if p, err = Open(dir, steps(second, "CREATE TABLE third (x)")); err != nil {
		t.Fatal(err)
	}
	p.Close()
}
