package nes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type vectorUser struct {
	Message, Sign struct {
		Private string `json:"private_pem"`
		Public  string `json:"public_pem"`
	}
}

// vectorKeys returns the vectors' users.
func vectorKeys(t testing.TB) map[string]vectorUser {
	t.Helper()
	b, err := os.ReadFile("testdata/users.json")
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]vectorUser
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// testSettings makes a home folder with the keys of one of the vectors' users, who
// knows no provider.
func testSettings(t testing.TB, user string) *Settings {
	t.Helper()
	home := t.TempDir()
	s, err := Resolve(Given{
		Flags: map[string]string{User: user, Address: NoProvider}, Env: func(string) string { return "" }, Home: home,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	u := vectorKeys(t)[user]
	for name, text := range map[string]string{MessageFile: u.Message.Private, SignFile: u.Sign.Private} {
		if err := os.WriteFile(s.Get(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// befriend gives a user another's keys as files.
func befriend(t testing.TB, s *Settings, peer string) {
	t.Helper()
	dir := filepath.Join(s.Dir(), "peers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	u := vectorKeys(t)[peer]
	for kind, text := range map[string]string{"message": u.Message.Public, "sign": u.Sign.Public} {
		if err := os.WriteFile(filepath.Join(dir, peer+"-"+kind+".pub"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
