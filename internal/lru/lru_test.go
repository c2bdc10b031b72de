package lru

import (
	"fmt"
	"strings"
	"testing"
)

// What was used last stays, by reading as by writing.
func TestMap(t *testing.T) {
	m := New[string, int](3)
	there := func(want string) {
		t.Helper()
		var all []string
		for e := m.order.Front(); e != nil; e = e.Next() {
			x := e.Value.(*entry[string, int])
			if m.byKey[x.key] != e {
				t.Errorf("%s is not found", x.key)
			}
			all = append(all, fmt.Sprint(x.key, x.value))
		}
		if got := strings.Join(all, " "); got != want || m.Len() != len(all) || len(m.byKey) != len(all) {
			t.Errorf("%q, want %q; %d entries, %d keys", got, want, m.Len(), len(m.byKey))
		}
	}
	m.Put("a", 1)
	m.Put("b", 2)
	m.Put("c", 3)
	there("c3 b2 a1")
	if v, ok := m.Get("a"); v != 1 || !ok {
		t.Error(v, ok)
	}
	m.Put("d", 4)
	there("d4 a1 c3")
	m.Put("c", 5)
	m.Put("e", 6)
	there("e6 c5 d4")
	if v, ok := m.Get("a"); v != 0 || ok {
		t.Error(v, ok)
	}
	m.Remove("c")
	m.Remove("a")
	there("e6 d4")
}
