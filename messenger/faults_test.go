package messenger

import (
	"time"

	"parley/parleytest"
)

var faultsMild = parleytest.Faults{Lose: 0.1, LoseAnswer: 0.1, Duplicate: 0.1, Deny: 0.05, Full: 0.05, Delay: 300 * time.Millisecond}
