package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// usage is what a process has used so far.
type usage struct {
	CPU time.Duration // user and system time, all threads
	RSS int64         // resident memory in bytes, now
}

// ownUsage reads the usage of this process, CPU time to the microsecond.
func ownUsage() (usage, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usage{}, fmt.Errorf("getrusage: %w", err)
	}
	rss, err := residentBytes("self")
	return usage{time.Duration(r.Utime.Nano() + r.Stime.Nano()), rss}, err
}

// usageOf reads the usage of another process, CPU time in ticks of 10 ms.
func usageOf(pid int) (usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	// The name in field 2 may hold spaces and brackets: count from its end.
	i := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[i+1:])
	if i < 0 || len(f) < 13 {
		return usage{}, fmt.Errorf("/proc/%d/stat has an unknown form", pid)
	}
	user, err1 := strconv.ParseInt(string(f[11]), 10, 64)
	sys, err2 := strconv.ParseInt(string(f[12]), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	rss, err := residentBytes(strconv.Itoa(pid))
	return usage{time.Duration(user+sys) * (time.Second / 100), rss}, err // USER_HZ is 100 on every Linux ABI
}

// machineTime reads how long the machine's processors have been busy, and how long
// they have been there, added up over all of them, in ticks of 10 ms.
func machineTime() (busy, all time.Duration, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	// cpu user nice system idle iowait irq softirq steal; what follows is in user.
	f := bytes.Fields(line)
	if len(f) < 9 || string(f[0]) != "cpu" {
		return 0, 0, errors.New("/proc/stat has an unknown form")
	}
	for i, field := range f[1:9] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		all += time.Duration(n) * (time.Second / 100)
		if i != 3 && i != 4 {
			busy += time.Duration(n) * (time.Second / 100)
		}
	}
	return busy, all, nil
}

func residentBytes(pid string) (int64, error) {
	b, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, errors.New("/proc/" + pid + "/statm has an unknown form")
	}
	pages, err := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// datasync makes what was written to f durable, without times and the like.
func datasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
