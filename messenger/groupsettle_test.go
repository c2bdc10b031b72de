package messenger

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"parley"
	"parley/parleytest"
	"parley/secure/stringphone"
)

// Who was away while somebody was expelled finds the news at the broker. What it
// sends first, offline or as soon as it is connected, is not sealed before it has
// read them; meanwhile the queue says why it waits.
func TestGroupFirstTextAfterAnExpulsion(t *testing.T) {
	for _, mode := range []stringphone.Mode{stringphone.Headed, stringphone.ForwardSecret} {
		t.Run(mode.String(), func(t *testing.T) {
			inTopic(t, 7, func(w *world, b *bus) {
				t, ctx := w.t, context.Background()
				alice, bob, carol := w.trio(b, mode)
				bob.stop()
				if _, err := alice.m.Expel(ctx, "lamps", carol.self().ID); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Minute)
				b.set(parleytest.Faults{Delay: settlePause / 2})

				var tell func(parley.Address, bool, error)
				before := bob.change
				bob.change = func(o *Options) {
					before(o)
					o.Events = func(relay func(parley.Address, bool, error), _ func(parley.Endpoint, error)) { tell = relay }
				}
				b.setDown(true)
				bob.start()
				id := bob.send("lamps", "not for Carol").ID
				<-time.After(time.Minute)
				q, err := bob.m.Queue(ctx)
				if err != nil || len(q) != 1 || !strings.Contains(q[0].Why, "a newer topic key may wait there") || q[0].Relay != "bus://home" {
					t.Fatalf("%+v %v", q, err)
				}
				b.setDown(false)
				tell("bus://home", true, nil)
				bob.wait(id, AtRelay)
				alice.hears("not for Carol")
				<-time.After(time.Minute)
				if got := carol.texts("lamps"); !slices.Equal(got, []string{"before"}) {
					t.Fatalf("Carol reads %q", got)
				}
			})
		})
	}
}
