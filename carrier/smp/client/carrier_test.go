package smpclient_test

import (
	"testing"

	"parley/broker"
	smpserver "parley/carrier/smp/server"
	"parley/parleytest"
)

func TestCarrier(t *testing.T) {
	for _, mode := range []struct {
		name  string
		plain bool
	}{{"encrypted", false}, {"plain", true}} {
		t.Run(mode.name, func(t *testing.T) {
			if mode.plain && testing.Short() {
				t.Skip("the same but for the transport")
			}
			parleytest.Carrier(t, func(t *testing.T) parleytest.CarrierFixture {
				r := newRelay(t, mode.plain, broker.Options{}, smpserver.Options{})
				return parleytest.CarrierFixture{
					Carrier: newClient(t, quick), Other: newClient(t, quick),
					At: r.address(), Restart: r.restart,
				}
			})
		})
	}
}
