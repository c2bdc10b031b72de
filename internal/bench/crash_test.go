package bench

import (
	"bytes"
	"strings"
	"testing"
)

func crashRun(t *testing.T, o CrashOptions) {
	t.Helper()
	var progress bytes.Buffer
	o.Dir, o.Spawn, o.Progress = t.TempDir(), spawn, &progress
	r, err := Crash(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Error(err)
	}
	t.Logf("\n%s", &text)
	if r.Anomalies != 0 {
		t.Error("something was lost, came twice or came out of order")
	}
	if r.Rounds != o.Rounds || r.Kills < o.Rounds || r.Stored == 0 || r.Delivered < r.Stored {
		t.Errorf("the run did not do its work: %+v", r)
	}
}

func TestCrashServer(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	crashRun(t, CrashOptions{Rounds: rounds, Kill: KillServer, Conns: 3})
}

func TestCrashClient(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	crashRun(t, CrashOptions{Rounds: rounds, Kill: KillClient, Conns: 1})
}

func TestCrashBoth(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	crashRun(t, CrashOptions{Rounds: 3, Kill: KillBoth, Conns: 1})
}

func TestCrashOptions(t *testing.T) {
	for name, o := range map[string]CrashOptions{
		"no round":     {Kill: KillServer, Conns: 1, Spawn: spawn},
		"no queue":     {Kill: KillServer, Rounds: 1, Spawn: spawn},
		"nobody":       {Kill: "nobody", Rounds: 1, Conns: 1, Spawn: spawn},
		"no spawn":     {Kill: KillServer, Rounds: 1, Conns: 1},
		"a dead child": {Kill: KillServer, Rounds: 1, Conns: 1, Spawn: spawnAs("broken")},
		"dead clients": {Kill: KillClient, Rounds: 1, Conns: 1, Spawn: spawnAs("broken")},
	} {
		o.Dir = t.TempDir()
		if r, err := Crash(t.Context(), o); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestCrashReportText(t *testing.T) {
	r := CrashReport{Kill: KillServer, Anomalies: 1, What: []string{"queue 1: message 2 was lost"}, Dir: "/somewhere"}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "message 2 was lost") || !strings.Contains(b.String(), "/somewhere") {
		t.Errorf("%v\n%s", err, &b)
	}
}
