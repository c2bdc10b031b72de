package parleytest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"parley"
)

// TestFaulty: without faults it is as good a carrier as any.
func TestFaulty(t *testing.T) {
	Carrier(t, func(t *testing.T) CarrierFixture {
		f := NewFaulty(1, 0)
		return CarrierFixture{Carrier: f, At: "faulty://relay", Restart: func() { f.Restart("relay") }}
	})
}

// TestFaultyFaults: each fault happens, and what was taken arrives in order.
func TestFaultyFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFaulty(2, 100)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		in, err := f.Claim(ctx, "faulty://relay")
		if err != nil {
			t.Fatal(err)
		}
		out, err := f.Join(ctx, in.Address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Send(ctx, out, []byte("too early")); !errors.Is(err, parley.ErrDenied) {
			t.Fatal(err)
		}
		if err := errors.Join(f.Confirm(ctx, out, []byte{0}), f.Secure(ctx, in, out.Secret)); err != nil {
			t.Fatal(err)
		}
		if err := f.Confirm(ctx, out, []byte{0}); !errors.Is(err, parley.ErrDenied) {
			t.Fatal(err)
		}
		if err := f.Inject(in.Address, []byte("stranger")); !errors.Is(err, parley.ErrDenied) {
			t.Fatal(err)
		}
		f.Set(Faults{Lose: .2, LoseAnswer: .2, Duplicate: .3, Deny: .2, Full: .2, Delay: time.Second})
		kinds := map[error]int{}
		for i := range 200 {
			for {
				_, err := f.Send(ctx, out, []byte{byte(i)})
				for _, k := range []error{parley.ErrDenied, parley.ErrFull, parley.ErrOffline, nil} {
					if errors.Is(err, k) {
						kinds[k]++
						break
					}
				}
				if err == nil {
					break
				}
			}
		}
		if len(kinds) != 4 || kinds[nil] != 200 {
			t.Fatal(kinds)
		}
		var got []byte
		marks := 0
		err = f.Receive(ctx, []parley.Endpoint{in}, func(_ int, d parley.Delivery) error {
			marks += len(d.Mark)
			got = append(got, d.Packet[0])
			if d.Packet[0] == 199 {
				if n, _ := f.Held("relay"); n == 1 {
					stop()
				}
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		repeated := 0
		for i, b := range got[1:] {
			switch b {
			case got[i]:
				repeated++
			case got[i] + 1:
			default:
				t.Fatalf("%d after %d", b, got[i])
			}
		}
		if repeated < 60 || marks != 8*len(got) {
			t.Fatal(repeated, marks)
		}
		f.Kill("relay")
		if _, err := f.Send(context.Background(), out, nil); !errors.Is(err, parley.ErrOffline) {
			t.Fatal(err)
		}
	})
}
