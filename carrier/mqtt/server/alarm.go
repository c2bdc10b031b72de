package server

import (
	"container/heap"
	"context"
	"time"
)

// An alarm fires under the hub's lock when its time has come.
type alarm struct {
	at   int64 // Unix milliseconds
	i    int   // place in the heap, -1: not set
	fire func()
}

type alarms []*alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at < a[j].at }
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].i, a[j].i = i, j
}
func (a *alarms) Push(x any) {
	x.(*alarm).i = len(*a)
	*a = append(*a, x.(*alarm))
}
func (a *alarms) Pop() any {
	old := *a
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	x.i = -1
	return x
}

// set makes an alarm.
func (h *hub) set(at int64, fire func()) *alarm {
	x := &alarm{at: at, fire: fire}
	heap.Push(&h.alarms, x)
	if x.i == 0 {
		select {
		case h.bell <- struct{}{}:
		default:
		}
	}
	return x
}

// unset takes an alarm back; nil is none.
func (h *hub) unset(x *alarm) {
	if x != nil && x.i >= 0 {
		heap.Remove(&h.alarms, x.i)
	}
}

// watch fires alarms until ctx is done or the disk has failed.
func (h *hub) watch(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.disk.failed:
			return
		case <-h.bell:
		case <-t.C:
		}
		wait := time.Hour
		h.mu.Lock()
		for n := 0; len(h.alarms) > 0 && n < effectsAtOnce; n++ {
			next := h.alarms[0]
			if wait = time.Duration(next.at-nowMilli()) * time.Millisecond; wait > 0 {
				break
			}
			heap.Pop(&h.alarms)
			next.fire()
			wait = 0
		}
		h.mu.Unlock()
		t.Reset(wait)
	}
}
