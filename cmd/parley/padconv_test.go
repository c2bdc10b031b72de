package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestPadConversations: pads in the messenger and in the original's client, with the real
// relay and the real device.
func TestPadConversations(t *testing.T) {
	if testing.Short() {
		t.Skip("builds parleyd and parley-pad and starts many processes")
	}
	dir := t.TempDir()
	relayd, device := buildOf(dir, "parleyd"), buildOf(dir, "parley-pad")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/padconv",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PARLEY_PASSPHRASE", "x")
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/state")
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/config")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits,
			// otcrelay VARIABLE: starts a relay.
			"otcrelay": func(ts *testscript.TestScript, _ bool, args []string) {
				r := &relay{program: relayd}
				ts.Check(r.startOTC(ts.MkAbs("relay")))
				ts.Defer(func() { r.stop(syscall.SIGKILL) })
				ts.Setenv(args[0], r.addr)
				ts.Setenv("OTC", strings.TrimPrefix(r.addr, "otc://")) // as the original writes it
			},
			// device VARIABLE DIR FLAG...: starts a device that allows everything.
			"device": func(ts *testscript.TestScript, _ bool, args []string) {
				path, err := device()
				ts.Check(err)
				r := &relay{}
				ts.Check(r.run(path, append([]string{"serve", "--dir", ts.MkAbs(args[1]), "--marks", ts.MkAbs(args[1] + ".marks"), "--allow-all"}, args[2:]...)...))
				ts.Defer(func() { r.stop(syscall.SIGKILL) })
				ts.Setenv(args[0], r.addr)
			},
			// paircode DIR: puts the code that a device shows into $CODE.
			"paircode": func(ts *testscript.TestScript, _ bool, args []string) {
				path, err := device()
				ts.Check(err)
				cmd := exec.Command(path, "pair", "--dir", ts.MkAbs(args[0]))
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				ts.Check(err)
				for word := range strings.FieldsSeq(string(out)) {
					if strings.HasPrefix(word, "PARLEY-PAD:") {
						ts.Setenv("CODE", word)
						return
					}
				}
				ts.Fatalf("no code in %q", out)
			},
		},
	})
}
