package term

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const units = "KMGTP"

// ParseSize reads a number of bytes as people write it: 4096, 64K, 1.5G, 2TiB. A letter is
// a power of 1024.
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("%q is not a size, such as 4096, 64K, 1.5G or 1T", s)
	number := strings.ToUpper(strings.TrimSpace(s))
	i := strings.LastIndexAny(number, "0123456789.") + 1
	number, unit := number[:i], number[i:]
	scale := 1.0
	if unit != "" && unit != "B" {
		i := strings.IndexByte(units, unit[0])
		if more := unit[1:]; i < 0 || more != "" && more != "B" && more != "IB" {
			return 0, bad
		}
		scale = math.Pow(1024, float64(i+1))
	}
	if scale == 1 {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 {
			return 0, bad
		}
		return n, nil
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, bad
	}
	f, err := strconv.ParseFloat(number, 64)
	if f *= scale; err != nil || f >= 1<<62 || f != math.Trunc(f) {
		return 0, bad
	}
	return int64(f), nil
}

// Size writes a number of bytes for people: 812 bytes, 63.4 KiB, 1.0 TiB.
func Size(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	if n > -1024 && n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	f := float64(n)
	i := -1
	for ; math.Abs(f) >= 1023.95 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
