package bench

import (
	"fmt"
	"io"
	"time"
)

// A RelayReport is what [Relay] measured. docs/benchmarks.md defines each number.
type RelayReport struct {
	Relay    string  `json:"relay"` // "child process", "in process" or its address
	Conns    int     `json:"connections"`
	Queues   int     `json:"queues"`
	Size     int     `json:"size"` // of a body, in bytes
	Messages uint64  `json:"messages"`
	Seconds  float64 `json:"seconds"`

	PerSecond   float64 `json:"messages_per_second"`
	P50         float64 `json:"p50_ms"` // SEND until the OK of ACK
	P99         float64 `json:"p99_ms"`
	DeliveryP50 float64 `json:"delivery_p50_ms"` // SEND until MSG
	DeliveryP99 float64 `json:"delivery_p99_ms"`

	Others float64 `json:"machine_used_by_others"` // share of all processors, 0 to 1

	CPU float64 `json:"server_cpu_us_per_message,omitempty"` // both sides, when in process

	Work  *Work        `json:"work_per_message,omitempty"`
	Floor *FloorReport `json:"floor,omitempty"` // absent when the relay is on another machine

	HalfLoad *HalfLoad `json:"half_load,omitempty"`
	Memory   *Memory   `json:"memory,omitempty"`

	latency Histogram
}

// A FloorReport compares with the bare work, measured in turns with the relay.
type FloorReport struct {
	PerSecond float64 `json:"messages_per_second"` // bare work, nothing else on the machine
	CPU       float64 `json:"cpu_us_per_message"`
	Ratio     float64 `json:"ratio"` // the relay's rate by this one: the median of the turns
	RatioCPU  float64 `json:"ratio_cpu,omitempty"`

	EchoPerSecond float64 `json:"echo_messages_per_second"` // bare work behind TCP, with a client
	EchoCPU       float64 `json:"echo_server_cpu_us_per_message"`
	EchoRatio     float64 `json:"echo_ratio"`
}

// HalfLoad is the run at half of the rate that was reached.
type HalfLoad struct {
	Rate      float64 `json:"messages_per_second"` // asked for
	Messages  uint64  `json:"messages"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
	Others    float64 `json:"machine_used_by_others"` // share of all processors, 0 to 1
	histogram Histogram
}

// Memory is the growth of the relay's resident memory.
type Memory struct {
	Empty          int64 `json:"empty_bytes"` // of the relay without connections
	Conns          int   `json:"idle_connections"`
	PerConn        int64 `json:"bytes_per_idle_connection"`
	Queues         int   `json:"queues"`
	PerQueue       int64 `json:"bytes_per_subscribed_queue"`
	PerQueueAtRest int64 `json:"bytes_per_queue"` // in a relay that was started again, without connections
	BothSides      bool  `json:"both_sides,omitempty"`
}

// The aims that the text report names beside what was measured.
const (
	aimRatio    = 0.5
	aimHalfLoad = 20.0     // ms
	aimPerConn  = 25 << 10 // bytes
)

// WriteText writes the report for people, at most 79 columns wide.
func (r *RelayReport) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.f("relay         %s\n", r.Relay)
	p.f("load          %d connections, %d queues, bodies of %d bytes, %d messages in %.1f s\n", r.Conns, r.Queues, r.Size, r.Messages, r.Seconds)
	p.f("one message   SEND, its delivery and ACK; one under way on each connection\n\n")
	full := r.PerSecond
	if r.Floor != nil {
		full = max(full, r.Floor.PerSecond, r.Floor.EchoPerSecond)
	}
	p.f("messages/s    relay  %8.0f  %s\n", r.PerSecond, bar(r.PerSecond, full))
	if f := r.Floor; f != nil {
		p.f("              echo   %8.0f  %s\n", f.EchoPerSecond, bar(f.EchoPerSecond, full))
		p.f("              floor  %8.0f  %s\n", f.PerSecond, bar(f.PerSecond, full))
		p.f("ratio         %.0f %% of the floor (%s), %.0f %% of the echo\n", f.Ratio*100, aim(f.Ratio >= aimRatio, "50 %"), f.EchoRatio*100)
	}
	p.others(r.Others)
	p.f("latency       p50 %.2f ms, p99 %.2f ms; until delivery p50 %.2f, p99 %.2f\n", r.P50, r.P99, r.DeliveryP50, r.DeliveryP99)
	p.f("%s", Chart(&r.latency))
	if r.CPU > 0 {
		p.f("CPU/message   %s %.0f µs", map[bool]string{true: "relay and its clients", false: "relay"}[r.Relay == inProcess], r.CPU)
		if f := r.Floor; f != nil {
			p.f(", echo %.0f µs, floor %.0f µs", f.EchoCPU, f.CPU)
		}
		p.f("\n")
	}
	if k := r.Work; k != nil {
		p.f("its work      %d RSA-PSS verifications, %.2f blocks in, %.2f out, %d records synced\n", k.Verifications, k.BlocksIn, k.BlocksOut, k.Syncs)
	}
	if h := r.HalfLoad; h != nil {
		p.f("half load     %.0f messages/s: p50 %.2f ms, p99 %.2f ms (%s), max %.2f ms\n", h.Rate, h.P50, h.P99, aim(h.P99 <= aimHalfLoad, "20 ms"), h.Max)
		p.others(h.Others)
		p.f("%s", Chart(&h.histogram))
	}
	if m := r.Memory; m != nil {
		both := ""
		if m.BothSides {
			both = " (both ends)"
		}
		p.f("memory        %.1f KB per idle connection%s (%s) at %d\n", kb(m.PerConn), both, aim(m.PerConn <= aimPerConn, "25 KB"), m.Conns)
		p.f("              %.2f KB per queue at rest, %.2f KB subscribed, at %d\n", kb(m.PerQueueAtRest), kb(m.PerQueue), m.Queues)
		p.f("              %.1f MB the relay itself\n", kb(m.Empty)/1024)
	}
	return p.err
}

func aim(met bool, what string) string {
	if met {
		return "aim " + what + ": met"
	}
	return "aim " + what + ": missed"
}

func kb(n int64) float64 { return float64(n) / 1024 }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// others warns that the machine was not ours alone.
func (p *printer) others(share float64) {
	if share > 0.05 {
		p.f("              meanwhile other programs used %.0f %% of the machine\n", share*100)
	}
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, a...)
	}
}
