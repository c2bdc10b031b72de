package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestJournalSurvivesATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.journal")
	for round, torn := range []string{"", "sent 1", "try 9", "se", "sent 2\nsent"} {
		j, err := openJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range []string{noteTry, noteSent} {
			if err := j.note(what, j.next); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := j.f.WriteString(torn); err != nil {
			t.Fatal(err)
		}
		j.f.Close()
		tried, sent, err := readJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		if tried < round+1 || !slices.Contains(sent, tried) && torn == "" {
			t.Errorf("round %d: tried %d, sent %v", round, tried, sent)
		}
	}
	if tried, sent, err := readJournal(filepath.Join(t.TempDir(), "none")); tried != 0 || sent != nil || err != nil {
		t.Errorf("an absent journal gives %d, %v, %v", tried, sent, err)
	}
	if _, err := openJournal(filepath.Join(path, "below a file")); err == nil {
		t.Error("a journal where none can be")
	}
	// A number cut in half must not be taken for another.
	if err := os.WriteFile(path, []byte("try 123\nsent 12"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, sent, _ := readJournal(path); len(sent) != 0 {
		t.Errorf("half a line counts: %v", sent)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name      string
		tried     int
		sent, got []int
		want      string
	}{
		{"all", 3, []int{1, 2, 3}, []int{1, 2, 3}, ""},
		{"one was killed on its way", 3, []int{1, 3}, []int{1, 3}, ""},
		{"and came all the same", 3, []int{1, 3}, []int{1, 2, 3}, ""},
		{"nothing", 0, nil, nil, ""},
		{"lost", 3, []int{1, 2, 3}, []int{1, 3}, "sent 2, and it never came"},
		{"twice", 2, []int{1, 2}, []int{1, 1, 2}, "1 from Alice is there more than once"},
		{"twice, late", 2, []int{1, 2}, []int{1, 2, 1}, "more than once"},
		{"out of order", 2, []int{1, 2}, []int{2, 1}, "1 from Alice came after 2"},
		{"invented", 1, []int{1}, []int{1, 2}, "never sent 2"},
		{"zero", 1, []int{1}, []int{1, 0}, "never sent 0"},
	} {
		got := strings.Join(judge("Alice", c.tried, c.sent, c.got), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
