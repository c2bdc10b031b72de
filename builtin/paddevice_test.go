package builtin_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"parley/builtin"
	"parley/messenger"
	"parley/paddevice/client"
	"parley/paddevice/server"
	"parley/secure/otp"
)

// A device is a real pad device, whose person types at its terminal.
type device struct {
	t    *testing.T
	o    server.Options
	s    *server.Server
	pair string // the file of the pairing
}

// newDevice starts a device on the folder of a pad and pairs with it.
func newDevice(t *testing.T, pad string) *device {
	d := &device{t: t, o: server.Options{Dir: filepath.Dir(pad), Marks: t.TempDir(), Paired: "127.0.0.1:0", AllowAll: true}}
	d.start()
	t.Cleanup(d.stop)
	address := strings.TrimPrefix(d.s.Addresses[len(d.s.Addresses)-1], "parley-pad://")
	d.o.Paired = address // from now on
	code, err := server.NewCode(t.Context(), d.o.Dir, address)
	if err != nil {
		t.Fatal(err)
	}
	if d.pair, err = client.Pair(t.Context(), code.String(), "laptop", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *device) start() {
	d.t.Helper()
	var err error
	if d.s, err = server.Start(d.o); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) stop() {
	if d.s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := d.s.Shutdown(ctx); err != nil {
		d.t.Error(err)
	}
	d.s = nil
}

// TestPadDevice: a pad on a device is a line like any other, also when the device, the
// messenger and the relay are started anew in between.
func TestPadDevice(t *testing.T) {
	r := newOTCRelay(t)
	files := newPad(t, otp.V2, 1<<18)
	d := newDevice(t, files[0])
	alice, bob := newPerson(t, "alice"), newPerson(t, "bob")
	c, err := alice.AddPad(patience(t), alice.padOptions(r, builtin.PadSetup{Device: d.pair, Self: "alice", Peer: "bob"}))
	if err != nil || c.State != "connected" || c.Pad == nil || c.Pad.Left != 1<<17 || c.Receipts != "none" {
		t.Fatalf("%+v, %v", c, err)
	}
	bob.addPad(r, files[1])
	alice.say("bob", "one", messenger.AtDevice)
	bob.say("alice", "an answer", messenger.AtRelay)
	alice.until("the answer came", func() bool { return len(alice.texts("bob")) == 1 })
	d.stop()
	m, err := alice.Send(t.Context(), "bob", "two")
	if err != nil {
		t.Fatal(err)
	}
	bob.say("alice", "while your device was away", messenger.AtRelay)
	alice.until("it says why it waits", func() bool {
		q, err := alice.Queue(t.Context())
		return err == nil && len(q) == 1 && strings.Contains(q[0].Why, "the pad device cannot be reached")
	})
	alice.until("what came waits", func() bool { s, err := alice.Status(t.Context()); return err == nil && s.Waiting == 1 })
	alice.stop()
	alice.start()
	d.start()
	if _, err := alice.Wait(patience(t), m.ID, messenger.AtDevice); err != nil {
		t.Fatal(err)
	}
	alice.until("it came", func() bool { return len(alice.texts("bob")) == 2 })
	for i := range 30 { // many at once
		if _, err := bob.Send(t.Context(), "alice", fmt.Sprint("burst ", i)); err != nil {
			t.Fatal(err)
		}
	}
	alice.until("the burst came", func() bool { return len(alice.texts("bob")) == 32 })
	if got := bob.texts("alice"); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("%q", got)
	}
}
