package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const usersFile = `
# people and devices
user alice %s
user bob %s

deny  bob       read      home/secret/#
allow alice     readwrite home/#
allow bob       read      home/#
allow *         readwrite people/%%u/#
allow *         write     devices/%%c
allow anonymous read      public/+
deny  anonymous readwrite #
`

// hashed makes a hash that is quick to check.
func hashed(t testing.TB, password string) string {
	t.Helper()
	line, err := hashLine("x", []byte(password), make([]byte, saltBytes), hashLeast)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(line, "user x ")
}

func testUsers(t testing.TB) *Users {
	t.Helper()
	u, err := ParseUsers(strings.NewReader(fmt.Sprintf(usersFile, hashed(t, "wonderland"), hashed(t, "builder"))))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestRules(t *testing.T) {
	u := testUsers(t)
	for _, x := range []struct {
		user, client, topic string
		write, read         bool // as a topic, and as a filter
	}{
		{"alice", "c", "home/x", true, true},
		{"alice", "c", "home", true, true},
		{"alice", "c", "house", false, false},
		{"bob", "c", "home/x", false, true},
		{"bob", "c", "home/secret/x", false, false},
		{"bob", "c", "people/bob/x", true, true},
		{"bob", "c", "people/alice/x", false, false},
		{"bob", "c", "devices/c", true, false},
		{"bob", "d", "devices/c", false, false},
		{"", "c", "public/x", false, true},
		{"", "c", "public/x/y", false, false},
		{"", "c", "people//x", false, false},
		{"", "c", "devices/c", false, false},
	} {
		if got := u.mayWrite(x.user, x.client, x.topic); got != x.write {
			t.Errorf("%q may write %q: %v", x.user, x.topic, got)
		}
		if got := u.mayRead(x.user, x.client, x.topic); got != x.read {
			t.Errorf("%q may read %q: %v", x.user, x.topic, got)
		}
	}
	for _, x := range []struct {
		user, filter string
		may          bool
	}{
		{"alice", "home/#", true}, {"alice", "home/+/x", true}, {"alice", "#", false}, {"alice", "+/x", false}, {"alice", "people/+/x", false},
		{"bob", "home/#", false}, {"bob", "home/+/x", false}, {"bob", "home/kitchen/#", true}, {"bob", "home/+", false}, {"bob", "people/bob/#", true},
		{"", "public/+", true}, {"", "public/#", false},
	} {
		if got := u.mayRead(x.user, "c", x.filter); got != x.may {
			t.Errorf("%q may subscribe to %q: %v", x.user, x.filter, got)
		}
	}
	// A client can't name itself into other people's topics.
	for _, client := range []string{"#", "+", "a/b", ""} {
		if u.mayWrite("bob", client, "devices/"+client) || u.mayWrite("bob", client, "devices/x") {
			t.Errorf("the client %q may write", client)
		}
	}
	free, err := ParseUsers(strings.NewReader("user alice " + hashed(t, "x")))
	if err != nil || !free.mayRead("alice", "c", "#") || !free.mayWrite("alice", "c", "x") || free.letsAnonymous() || free.mayRead("", "c", "x") {
		t.Errorf("a file without rules: %v", err)
	}
}

func TestLogin(t *testing.T) {
	u := testUsers(t)
	late := time.Now().Add(patience)
	for _, x := range []struct {
		user, pass string
		has        bool
		want       code
	}{
		{"alice", "wonderland", true, success},
		{"alice", "wonderland", true, success}, // remembered
		{"alice", "Wonderland", true, badLogin},
		{"alice", "", true, badLogin},
		{"bob", "wonderland", true, badLogin},
		{"nobody", "wonderland", true, badLogin},
		{"", "wonderland", true, badLogin},
		{"", "wonderland", false, badLogin},
		{"", "", false, success}, // anonymous
	} {
		if got := u.login(&connect{hasUser: x.has, user: x.user, password: []byte(x.pass)}, "", late, nil); got != x.want {
			t.Errorf("%q, %q: %v, want %v", x.user, x.pass, got, x.want)
		}
	}
	free, err := ParseUsers(strings.NewReader("user alice " + hashed(t, "x")))
	if err != nil {
		t.Fatal(err)
	}
	if got := free.login(&connect{}, "", late, nil); got != notAuthorized {
		t.Errorf("anonymous without a rule: %v", got)
	}
	line, err := HashPassword("carol", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := ParseUsers(strings.NewReader(line))
	if err != nil || own.login(&connect{hasUser: true, user: "carol", password: []byte("secret")}, "", late, nil) != success {
		t.Errorf("%q: %v", line, err)
	}
	for own.check.slots.free > 0 { // as long as others are checked …
		own.check.slots.enter("other", time.Minute, nil)
	}
	if got := own.login(&connect{hasUser: true, user: "carol", password: []byte("x")}, "", time.Now(), nil); got != serverBusy {
		t.Errorf("after the time is up: %v", got)
	}
	done := make(chan struct{})
	close(done)
	if got := own.login(&connect{hasUser: true, user: "carol", password: []byte("x")}, "", late, done); got != serverBusy {
		t.Errorf("after the connection has ended: %v", got)
	}
}

func TestHashPasswordRefuses(t *testing.T) {
	for _, x := range []struct{ name, password string }{
		{"", "x"}, {"anonymous", "x"}, {"*", "x"}, {"a b", "x"}, {"a/b", "x"}, {"a#", "x"}, {"%u", "x"}, {"\xff", "x"},
		{strings.Repeat("a", 257), "x"}, {"alice", ""}, {"alice", strings.Repeat("x", 1025)},
	} {
		if line, err := HashPassword(x.name, []byte(x.password)); err == nil {
			t.Errorf("%q, %q: %q", x.name, x.password, line)
		}
	}
}

func TestParseUsersRefuses(t *testing.T) {
	good := hashed(t, "x")
	for name, x := range map[string]struct{ file, want string }{
		"nothing":          {"# nobody\n", "nothing in it"},
		"a strange word":   {"permit alice read x", `"permit" is not user, allow or deny`},
		"no hash":          {"user alice", "parleyd mqtt-user"},
		"a clear password": {"user alice secret", "parleyd mqtt-user"},
		"another scheme":   {"user alice $argon2id$v=19$x", "parleyd mqtt-user"},
		"few iterations":   {"user alice " + strings.Replace(good, ":1000:", ":999:", 1), "parleyd mqtt-user"},
		"many iterations":  {"user alice " + strings.Replace(good, ":1000:", ":99999999:", 1), "parleyd mqtt-user"},
		"a short salt":     {"user alice pbkdf2-sha256:1000:AAAA:" + strings.Split(good, ":")[3], "parleyd mqtt-user"},
		"a short hash":     {"user alice pbkdf2-sha256:1000:" + strings.Split(good, ":")[2] + ":AAAA", "parleyd mqtt-user"},
		"twice":            {"user alice " + good + "\nuser alice " + good, "line 2: the user \"alice\" is there twice"},
		"a bad name":       {"user a/b " + good, "white space"},
		"reserved name":    {"user anonymous " + good, "cannot be a user's name"},
		"no access":        {"allow * x", `"x" is not read, write or readwrite`},
		"no filter":        {"allow * read", "empty"},
		"a bad filter":     {"allow * read a/#/b", "last level"},
		"unknown user":     {"allow alice read x", "no line 'user alice"},
		"a long line":      {"# " + strings.Repeat("x", usersLine), "too long"},
	} {
		if _, err := ParseUsers(strings.NewReader(x.file)); !errors.Is(err, ErrUsers) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats a password: %v", name, err)
		}
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add(fmt.Sprintf(usersFile, hashed(f, "a"), hashed(f, "b")), "alice", "c", "home/#")
	f.Add("allow anonymous read %c/%u/#", "", "x", "x//y")
	f.Fuzz(func(t *testing.T, file, user, client, topic string) {
		u, err := ParseUsers(strings.NewReader(file))
		if err != nil {
			if !errors.Is(err, ErrUsers) {
				t.Error(err)
			}
			return
		}
		// Who may subscribe to a topic that is none of the rules' filters by text may
		// also be told so twice.
		read, write := u.mayRead(user, client, topic), u.mayWrite(user, client, topic)
		if read != u.mayRead(user, client, topic) || write != u.mayWrite(user, client, topic) {
			t.Error("rules change their mind")
		}
		if user == "" && !u.letsAnonymous() && (u.mayRead(user, client, topic) || u.mayWrite(user, client, topic)) {
			t.Error("anonymous clients may do what no rule allows")
		}
	})
}
