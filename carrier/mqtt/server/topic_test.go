package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"parley/carrier/mqtt"
)

// every returns all names of up to n levels out of the given words.
func every(n int, words ...string) []string {
	var out []string
	last := []string{""}
	for range n {
		var next []string
		for _, l := range last {
			for _, w := range words {
				s := w
				if l != "" || len(out) > 0 {
					s = l + "/" + w
				}
				next = append(next, s)
			}
		}
		out = append(out, next...)
		last = next
	}
	return out
}

func filters(n int) []string {
	var out []string
	for _, f := range every(n, "a", "b", "$c", "", "+", "#") {
		if mqtt.CheckFilter(f) == nil {
			out = append(out, f)
		}
	}
	return out
}

// Of all small filters and topics: covers and overlaps say what matching says.
func TestCoversAndOverlaps(t *testing.T) {
	var topics []string
	for _, s := range every(4, "a", "b", "$c", "x", "") {
		if mqtt.CheckTopic(s) == nil {
			topics = append(topics, s)
		}
	}
	all := filters(3)
	match := make(map[string][]bool)
	for _, f := range all {
		for _, s := range topics {
			match[f] = append(match[f], mqtt.Match(f, s))
		}
	}
	for _, a := range all {
		for _, b := range all {
			wantCovers, wantOverlaps := true, false
			for i := range topics {
				wantCovers = wantCovers && (match[a][i] || !match[b][i])
				wantOverlaps = wantOverlaps || match[a][i] && match[b][i]
			}
			if got := covers(a, b); got && !wantCovers {
				t.Errorf("covers(%q, %q)", a, b)
			} else if !got && wantCovers && !equivalent(a, b) {
				t.Errorf("not covers(%q, %q)", a, b)
			}
			// /# is said to take in the empty topic too, which there is none of.
			if got := overlaps(a, b); got != wantOverlaps && a != "/#" && b != "/#" || wantOverlaps && !got {
				t.Errorf("overlaps(%q, %q) = %v", a, b, got)
			}
		}
	}
}

// equivalent is where covers may be too strict, which only refuses: +/# takes in
// all that # does, and nothing says so level by level.
func equivalent(a, b string) bool {
	return strings.HasSuffix(b, "#") && strings.Count(a, "/") > strings.Count(b, "/") || a == "+/#"
}

// The tree finds what matching filter by filter finds, whatever came and went.
func TestTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	all := filters(3)
	topics := every(3, "a", "b", "$c", "")
	var root subTree
	have := make(map[*session]map[string]bool)
	sessions := []*session{{}, {}, {}}
	for _, s := range sessions {
		have[s] = make(map[string]bool)
	}
	for range 20_000 {
		s, f := sessions[rng.IntN(len(sessions))], all[rng.IntN(len(all))]
		if rng.IntN(3) > 0 {
			root.add(f, s, &subscription{filter: f})
			have[s][f] = true
		} else {
			root.remove(f, s)
			delete(have[s], f)
		}
		topic := topics[rng.IntN(len(topics))]
		if mqtt.CheckTopic(topic) != nil {
			continue
		}
		var got, want []string
		root.match(topic, func(s *session, sub *subscription) {
			got = append(got, fmt.Sprint(slices.Index(sessions, s), sub.filter))
		})
		for i, s := range sessions {
			for f := range have[s] {
				if mqtt.Match(f, topic) {
					want = append(want, fmt.Sprint(i, f))
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%q matches %v, want %v", topic, got, want)
		}
	}
	for _, s := range sessions {
		for f := range have[s] {
			root.remove(f, s)
		}
	}
	if root.root.kid != nil || len(root.root.kids) > 0 {
		t.Error("an empty tree has levels")
	}
}

func TestRetainedTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	all := filters(3)
	topics := every(3, "a", "b", "$c", "")
	var tree retainedTree
	have := make(map[string]int)
	for range 20_000 {
		topic := topics[rng.IntN(len(topics))]
		if mqtt.CheckTopic(topic) != nil {
			continue
		}
		if rng.IntN(3) > 0 {
			size := rng.IntN(100)
			tree.put(&retainedItem{topic: topic, size: size})
			have[topic] = size
		} else {
			tree.remove(topic)
			delete(have, topic)
		}
		f := all[rng.IntN(len(all))]
		var want []string
		bytes := 0
		for s, n := range have {
			bytes += n
			if mqtt.Match(f, s) {
				want = append(want, s)
			}
		}
		got := tree.match(f)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || tree.count != len(have) || tree.bytes != int64(bytes) {
			t.Fatalf("%q matches %v, want %v; %d topics, %d bytes, want %d, %d", f, got, want, tree.count, tree.bytes, len(have), bytes)
		}
	}
	for s := range have {
		tree.remove(s)
	}
	if tree.root.kid != nil || len(tree.root.kids) > 0 || tree.count != 0 || tree.bytes != 0 {
		t.Error("an empty tree is not empty")
	}
}
