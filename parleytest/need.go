package parleytest

import (
	"os"
	"os/exec"
	"testing"
)

// Need skips the test when a tool that it uses is not installed, and returns
// where the tool is. With PARLEY_REQUIRE_SERVICES=1, as .ci/run sets it, a
// missing tool is a failure instead: there, nothing may go untested.
func Need(t testing.TB, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		Missing(t, tool+" is not installed")
	}
	return path
}

// Missing skips the test for want of something, or fails it where
// PARLEY_REQUIRE_SERVICES=1 says that nothing may be missing.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("PARLEY_REQUIRE_SERVICES") == "1" {
		t.Fatalf("%s, and PARLEY_REQUIRE_SERVICES=1", what)
	}
	t.Skipf("%s: skipped", what)
}
