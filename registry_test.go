package parley_test

import (
	"testing"

	"parley"
)

func TestRegistryRefusesASecondEntry(t *testing.T) {
	var r parley.Registry
	r.Transport(parley.Ratchet, nil)
	r.Carrier("smp2020", nil)
	for name, add := range map[string]func(){
		"transport": func() { r.Transport(parley.Ratchet, nil) },
		"carrier":   func() { r.Carrier("smp2020", nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a second %s of the same name was taken", name)
				}
			}()
			add()
		}()
	}
}

// TestNumbers pins the assigned numbers: they are on the wire and never change.
func TestNumbers(t *testing.T) {
	stp := map[parley.STP]string{}
	for name, n := range map[string]parley.STP{
		"S/MIME": parley.SMIME, "STPSimple v1": parley.STPSimpleV1, "STPSimple v2": parley.STPSimpleV2,
		"STPSimple v3": parley.STPSimpleV3, "group": parley.KeyslotGroup, "auth v1": parley.STPAuthV1,
		"auth v2": parley.STPAuthV2, "group auth": parley.KeyslotAuth, "String phone": parley.StringPhone,
		"pad": parley.OneTimePad, "NES": parley.NES, "ratchet": parley.Ratchet, "SMP bare": parley.SMPBare,
		"fragment": parley.Fragment,
	} {
		if other, taken := stp[n]; taken {
			t.Errorf("%s and %s share %v", name, other, n)
		}
		stp[n] = name
	}
	amp := map[parley.AMP]string{}
	for name, n := range map[string]parley.AMP{
		"text": parley.TextPlain, "AMPSimple": parley.TextSimple, "notification": parley.Notification,
		"hello": parley.Hello, "receipt": parley.Receipt, "edit": parley.Edit, "delete": parley.Delete,
		"file": parley.File, "paths": parley.Paths, "devices": parley.Devices,
		"membership": parley.Membership, "presence": parley.Presence,
	} {
		if other, taken := amp[n]; taken {
			t.Errorf("%s and %s share %v", name, other, n)
		}
		amp[n] = name
	}
	if parley.Ratchet != (parley.STP{Type: 67, Version: 1}) || parley.Receipt != (parley.AMP{Type: 65, Version: 1}) {
		t.Error("an assigned number changed")
	}
}
