package client_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"parley/internal/rsakey"
	"parley/keydir"
	"parley/keydir/client"
)

func TestAudit(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.put("alice", public(t, user("alice")), nil)
	d.put("bobby", public(t, user("bob")), nil)
	d.filler(3)
	d.put("bobby", public(t, user("carol")), nil)
	d.put("gone-user", public(t, user("carol")), nil)
	d.remove("gone-user")
	alice, bob, carol := client.Fingerprint(public(t, user("alice"))), client.Fingerprint(public(t, user("bob"))), client.Fingerprint(public(t, user("carol")))
	r, err := c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", &alice}, {"bobby", &carol}, {"nobody", nil}, {"gone-user", nil}})
	check(t, err)
	if r.Size != 8 || r.Active != 7 || r.Key != rsakey.Of(&d.key.PublicKey).Hex() {
		t.Errorf("%+v", r)
	}
	for i, want := range []int{1, 2, 0, 2} {
		if f := r.Findings[i]; len(f.Touches) != want || !f.Agrees {
			t.Errorf("%+v", f)
		}
	}
	for name, s := range map[string]client.Subject{"old keys": {"bobby", &bob}, "nobody": {"nobody", &bob}, "gone": {"gone-user", &carol}} {
		r, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", &alice}, s})
		is(t, err, keydir.ErrLog)
		if !r.Findings[0].Agrees || r.Findings[1].Agrees || r.Findings[1].Problem == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// It answers with keys that its log has not.
	d.users["alice"].keys = public(t, user("carol"))
	_, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", nil}})
	is(t, err, keydir.ErrLog)
	// It denies a user whom its log has.
	delete(d.users, "alice")
	_, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"alice", nil}})
	is(t, err, keydir.ErrLog)
	_, err = c.Audit(ctx, keydir.Head{Size: 2, Hash: keydir.NoHash}, nil)
	is(t, err, keydir.ErrLog)
}

// Keys that are nowhere in the log are not vouched for by an entry that does not exist,
// nor by one with another hash, however often one looks.
func TestAuditOfAnswersBesideTheLog(t *testing.T) {
	for name, lie := range map[string]func(d *directory, u *account){
		"beyond the head": func(d *directory, u *account) { u.keys, u.seq, u.hash = public(t, user("bob")), 99, keydir.Hash(nil) },
		"other hash":      func(d *directory, u *account) { u.hash = keydir.NoHash },
		"other version":   func(d *directory, u *account) { u.version++ },
		"an entry before": func(d *directory, u *account) { u.seq = 1 },
		"a log that stands": func(d *directory, u *account) {
			h := d.trueHead()
			d.put("alice", public(t, user("bob")), nil)
			d.head = &h
		},
		"a user without entry": func(d *directory, u *account) { d.users["bobby"] = u },
	} {
		d := newDirectory(t)
		c := d.client(t)
		d.filler(2)
		d.put("alice", public(t, user("alice")), nil)
		lie(d, d.users["alice"])
		d.asked = map[string]int{}
		r, err := c.Audit(ctx, keydir.Head{}, []client.Subject{{User: "alice"}, {User: "bobby"}})
		if !errors.Is(err, keydir.ErrLog) || r.Findings[0].Agrees && r.Findings[1].Agrees || r.Findings[0].Problem+r.Findings[1].Problem == "" {
			t.Errorf("%s: %v, %+v", name, err, r.Findings)
		}
		if n := max(d.asked["/users/alice"], d.asked["/users/bobby"]); n != client.Rounds {
			t.Errorf("%s: looked %d times", name, n)
		}
	}
}

// What happens while an audit runs is seen by going on to the newer head.
func TestAuditOfChangesMeanwhile(t *testing.T) {
	alice := client.Fingerprint(public(t, user("alice")))
	carol := client.Fingerprint(public(t, user("carol")))
	for name, c := range map[string]struct {
		change  func(d *directory)
		want    *rsakey.Fingerprint
		touches int
	}{
		"rotated":            {func(d *directory) { d.put("alice", public(t, user("carol")), nil) }, nil, 2},
		"removed":            {func(d *directory) { d.remove("alice") }, nil, 2},
		"removed, taken":     {func(d *directory) { d.remove("alice"); d.put("alice", public(t, user("carol")), nil) }, nil, 3},
		"of others":          {func(d *directory) { d.filler(3) }, &alice, 1},
		"not what it should": {func(d *directory) { d.put("alice", public(t, user("carol")), nil) }, &carol, 2},
	} {
		d := newDirectory(t)
		d.filler(2)
		d.put("alice", public(t, user("alice")), nil)
		d.put("bobby", public(t, user("bob")), nil)
		path := "/users/alice"
		if name == "not what it should" {
			path = "/users/bobby"
		}
		d.before = once(path, func() { c.change(d) })
		subjects := []client.Subject{{User: "alice", Want: c.want}, {User: "bobby"}}
		r, err := d.client(t).Audit(ctx, keydir.Head{}, subjects)
		check(t, err)
		f := r.Findings[0]
		if !f.Agrees || f.Problem != "" || len(f.Touches) != c.touches || name != "of others" && r.Size != d.trueHead().Size {
			t.Errorf("%s: %+v", name, r)
		}
		if n := d.asked["/users/bobby"]; n != 1 {
			t.Errorf("%s: who agreed was looked up %d times", name, n)
		}
	}
}

// What the entries of one name may be one after the other.
func TestAuditOfWhatMakesNoSense(t *testing.T) {
	fp := [2]string{rsakey.Of(public(t, user("alice")).Message).Hex(), rsakey.Of(public(t, user("alice")).Sign).Hex()}
	type step struct {
		action  string
		version int64
	}
	p := func(v int64) step { return step{keydir.Published, v} }
	r := func(v int64) step { return step{keydir.Rotated, v} }
	x := func(v int64) step { return step{keydir.Removed, v} }
	for _, c := range []struct {
		steps []step
		bad   int // index of the first that makes no sense, or -1
	}{
		{[]step{p(1), r(2), r(3), x(3), p(4), x(4), p(5)}, -1},
		{[]step{r(1)}, 0},
		{[]step{x(1)}, 0},
		{[]step{p(2)}, 0},
		{[]step{p(1), p(2)}, 1},
		{[]step{p(1), r(1)}, 1},
		{[]step{p(1), r(3)}, 1},
		{[]step{p(1), r(2), r(1)}, 2},
		{[]step{p(1), x(2)}, 1},
		{[]step{p(1), x(1), x(1)}, 2},
		{[]step{p(1), x(1), r(2)}, 2},
		{[]step{p(1), x(1), p(1)}, 2},
		{[]step{p(1), r(3), r(4)}, 1}, // a good end does not mend it
	} {
		d := newDirectory(t)
		for _, s := range c.steps {
			e := keydir.Entry{Action: s.action, Name: keydir.NameHash("alice"), Version: s.version}
			if s.action != keydir.Removed {
				e.MessageKey, e.SignKey = fp[0], fp[1]
			}
			d.log(e)
		}
		last := c.steps[len(c.steps)-1]
		if last.action != keydir.Removed {
			d.users["alice"] = &account{keys: public(t, user("alice")), version: last.version, seq: int64(len(d.lines))}
		}
		rep, err := d.client(t).Audit(ctx, keydir.Head{}, []client.Subject{{User: "alice"}})
		f := rep.Findings[0]
		if c.bad < 0 {
			if err != nil || !f.Agrees {
				t.Errorf("%v: %v", c.steps, err)
			}
			continue
		}
		if !errors.Is(err, keydir.ErrLog) || f.Agrees || !strings.Contains(f.Problem, "entry "+string(rune('1'+c.bad))+" ") {
			t.Errorf("%v: %v, %+v", c.steps, err, f)
		}
	}
}

func TestAuditNamesTwice(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t)
	d.put("alice", public(t, user("alice")), nil)
	d.put("bobby", public(t, user("bob")), nil)
	alice, bob := client.Fingerprint(public(t, user("alice"))), client.Fingerprint(public(t, user("bob")))
	r, err := c.Audit(ctx, keydir.Head{}, []client.Subject{{"bobby", nil}, {"alice", nil}, {"bobby", &bob}, {"bobby", nil}, {"bobby", &bob}})
	check(t, err)
	if len(r.Findings) != 2 || r.Findings[0].User != "bobby" || len(r.Findings[0].Touches) != 1 || r.Findings[1].User != "alice" {
		t.Errorf("%+v", r.Findings)
	}
	d.asked = map[string]int{}
	_, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"bobby", &alice}, {"bobby", &bob}})
	is(t, err, client.ErrTwice)
	if len(d.asked) != 0 {
		t.Errorf("%v", d.asked)
	}
	// The fingerprint that came second counts.
	_, err = c.Audit(ctx, keydir.Head{}, []client.Subject{{"bobby", nil}, {"bobby", &alice}})
	is(t, err, keydir.ErrLog)
}

// Of a long log, an audit tells how far it is; each entry that it lists has its hash.
func TestAuditProgress(t *testing.T) {
	d := newDirectory(t)
	d.filler(keydir.PageEntries + 3)
	d.put("alice", public(t, user("alice")), nil)
	var told [][2]int64
	c := d.client(t, func(o *client.Options) {
		o.Progress = func(n, size int64) { told = append(told, [2]int64{n, size}) }
	})
	r, err := c.Audit(ctx, keydir.Head{}, []client.Subject{{User: "alice"}})
	check(t, err)
	size := int64(keydir.PageEntries + 4)
	if len(told) != 2 || told[0] != [2]int64{keydir.PageEntries, size} || told[1] != [2]int64{size, size} {
		t.Errorf("%v", told)
	}
	if got := r.Findings[0].Touches[0].Hash; got != r.Hash || got != d.trueHead().Hash {
		t.Errorf("%s", got)
	}
	b, err := json.Marshal(r)
	if check(t, err); !strings.Contains(string(b), `"hash":"`+r.Hash+`"`) {
		t.Errorf("%s", b)
	}
}
