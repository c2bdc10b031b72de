package term

import "testing"

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "4096": 4096, "64K": 64 << 10, "64k": 64 << 10, "64KiB": 64 << 10, "64kb": 64 << 10,
		"1.5G": 3 << 29, "1T": 1 << 40, " 2M ": 2 << 20, "100B": 100, "1P": 1 << 50, "0.5K": 512,
	} {
		if got, err := ParseSize(s); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "K", "-1", "-1K", "1.5", "1.0001K", "1e3K", "1X", "0x10", "infK", "nanK", "5000P", "9223372036854775808", "1 K x", "4I", "4IB", "12KI", "12KBB", "12KK", "B", "1.5B", "12BK"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1: "1 byte", 1023: "1023 bytes", 1024: "1.0 KiB", 64 << 10: "64.0 KiB", 1<<20 - 1: "1.0 MiB", 1 << 40: "1.0 TiB", 1 << 62: "4096.0 PiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
