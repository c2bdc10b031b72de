package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"parley/carrier/mqtt"
)

// Users says who may connect and what each may do. A nil *Users lets everybody
// do everything.
type Users struct {
	hashes map[string]passwordHash
	rules  []rule
	check  checker

	anonymous bool // clients without a password may connect
	many      bool // several users share what there is
}

// ErrUsers is at the root of all errors in a users file.
var ErrUsers = errors.New("bad users file")

// Bounds of a users file.
const (
	usersLine = 64 << 10
	usersMost = 100_000 // lines that say something
)

// Who a rule is for, besides the name of a user.
const (
	everyUser = "*" // all who have logged in
	anonymous = "anonymous"
)

// A rule says whether some may read or write topics. The first that says anything
// counts.
type rule struct {
	allow       bool
	who         string
	read, write bool
	filter      string
}

// ParseUsers reads a users file:
//
//	# a comment
//	user NAME HASH                                  HASH as HashPassword makes it
//	allow NAME|*|anonymous read|write|readwrite FILTER
//	deny  NAME|*|anonymous read|write|readwrite FILTER
//
// * is everybody with a password. In FILTER, a level %u is the user's name and %c
// the client's ID. Without any rule, users may do everything; with rules, only
// what the first matching one allows. Clients without a password are let in only
// if an allow rule names anonymous.
func ParseUsers(r io.Reader) (*Users, error) {
	u := &Users{hashes: make(map[string]passwordHash)}
	in := bufio.NewScanner(r)
	in.Buffer(nil, usersLine)
	said := 0
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if said++; said > usersMost {
			return nil, fmt.Errorf("%w: more than %d lines", ErrUsers, usersMost)
		}
		if err := u.parse(line); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrUsers, n, err)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUsers, err)
	}
	if said == 0 {
		return nil, fmt.Errorf("%w: nothing in it; nobody could connect", ErrUsers)
	}
	for _, r := range u.rules {
		if _, known := u.hashes[r.who]; !known && r.who != everyUser && r.who != anonymous {
			return nil, fmt.Errorf("%w: a rule names the user %q, for whom there is no line 'user %s …'", ErrUsers, r.who, r.who)
		}
	}
	u.anonymous = slices.ContainsFunc(u.rules, func(r rule) bool { return r.who == anonymous && r.allow })
	u.many = len(u.hashes) > 1 || len(u.hashes) == 1 && u.anonymous
	u.check.start()
	return u, nil
}

func (u *Users) parse(line string) error {
	verb, rest := word(line)
	switch verb {
	case "user":
		name, hash := word(rest)
		if err := checkName(name); err != nil {
			return err
		}
		if _, twice := u.hashes[name]; twice {
			return fmt.Errorf("the user %q is there twice", name)
		}
		h, err := parseHash(hash)
		if err != nil {
			return err
		}
		u.hashes[name] = h
	case "allow", "deny":
		r := rule{allow: verb == "allow"}
		var what string
		r.who, rest = word(rest)
		what, r.filter = word(rest)
		switch what {
		case "read":
			r.read = true
		case "write":
			r.write = true
		case "readwrite":
			r.read, r.write = true, true
		default:
			return fmt.Errorf("%q is not read, write or readwrite", what)
		}
		if err := mqtt.CheckFilter(r.filter); err != nil {
			return err
		}
		u.rules = append(u.rules, r)
	default:
		return fmt.Errorf("%q is not user, allow or deny", verb)
	}
	return nil
}

// word splits at the first white space; a filter may have more of it inside.
func word(s string) (first, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// checkName refuses names that would mean something else in a rule or topic.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a user has no name")
	case name == anonymous || name == everyUser:
		return fmt.Errorf("%q cannot be a user's name", name)
	case len(name) > 256 || !utf8.ValidString(name) || strings.ContainsAny(name, "+#/%$\x00 \t\r\n"):
		return fmt.Errorf("the user's name %q is longer than 256 bytes, or has one of + # / %% $ or white space in it", name)
	}
	return nil
}

// mayWrite reports whether a client may publish to a topic.
func (u *Users) mayWrite(user, client, topic string) bool {
	if u == nil || u.free(user) {
		return true
	}
	for _, r := range u.rules {
		if f, ok := r.filterFor(user, client); ok && r.write && mqtt.Match(f, topic) {
			return r.allow
		}
	}
	return false
}

// mayRead reports whether a client may subscribe to a filter: a rule must allow
// all that it matches, and none before deny any of it.
func (u *Users) mayRead(user, client, filter string) bool {
	if u == nil || u.free(user) {
		return true
	}
	for _, r := range u.rules {
		f, ok := r.filterFor(user, client)
		switch {
		case !ok || !r.read:
		case r.allow && covers(f, filter):
			return true
		case !r.allow && overlaps(f, filter):
			return false
		}
	}
	return false
}

// free reports whether there are no rules for those who have logged in.
func (u *Users) free(user string) bool { return len(u.rules) == 0 && user != "" }

// letsAnonymous reports whether clients without a password may connect.
func (u *Users) letsAnonymous() bool { return u.anonymous }

// several reports whether there are users who must leave something to each other.
func (u *Users) several() bool { return u != nil && u.many }

// admits reports whether a user can connect at all; who has no name is "".
func (u *Users) admits(user string) bool {
	switch {
	case u == nil:
		return user == ""
	case user == "":
		return u.anonymous
	}
	_, known := u.hashes[user]
	return known
}

// filterFor returns the filter of a rule for a client, if the rule is for it.
func (r *rule) filterFor(user, client string) (string, bool) {
	switch {
	case r.who == user && user != "":
	case r.who == everyUser && user != "":
	case r.who == anonymous && user == "":
	default:
		return "", false
	}
	if !strings.Contains(r.filter, "%") {
		return r.filter, true
	}
	parts := strings.Split(r.filter, "/")
	for i, p := range parts {
		name := ""
		switch p {
		case "%u":
			name = user
		case "%c":
			name = client
		default:
			continue
		}
		// A client that calls itself # must not be let in everywhere.
		if name == "" || strings.ContainsAny(name, "+#/") || i == 0 && strings.HasPrefix(name, "$") {
			return "", false
		}
		parts[i] = name
	}
	return strings.Join(parts, "/"), true
}

// A checker checks passwords, which is slow on purpose: a few at a time, and those
// that were right are remembered by a keyed hash.
type checker struct {
	slots *turnstile
	mu    sync.Mutex
	key   [32]byte
	right map[string][32]byte
}
