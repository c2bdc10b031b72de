package bench

import "io"

// A TopicReport is what [Topic] measured. docs/benchmarks.md defines each number.
type TopicReport struct {
	Publishers int          `json:"publishers"`
	Window     int          `json:"window"`
	Size       int          `json:"size"`
	QoS        int          `json:"qos"`
	Durable    bool         `json:"durable"`
	Brokers    []TopicRates `json:"brokers"`
}

// TopicRates are messages per second through one broker, medians of the turns.
type TopicRates struct {
	Broker  string  `json:"broker"`
	Sealed  float64 `json:"sealed_per_second"`
	Bare    float64 `json:"bare_per_second"`
	Ratio   float64 `json:"sealed_by_bare"`
	OfFirst float64 `json:"sealed_by_embedded_sealed"`
}

// WriteText writes the report for people, at most 79 columns wide.
func (r *TopicReport) WriteText(w io.Writer) error {
	p := &printer{w: w}
	session := "a session that ends with its connection"
	if r.Durable {
		session = "a session that outlives its connection"
	}
	p.f("load          %d publishers with %d messages under way each, texts of %d bytes\n", r.Publishers, r.Window, r.Size)
	p.f("              QoS %d, one subscriber with %s\n", r.QoS, session)
	p.f("one message   sealed, published, delivered, verified, opened; or the bare text\n\n")
	full := 0.0
	for _, b := range r.Brokers {
		full = max(full, b.Sealed, b.Bare)
	}
	for _, b := range r.Brokers {
		p.f("%-13s bare   %8.0f/s  %s\n", b.Broker, b.Bare, bar(b.Bare, full))
		p.f("%-13s sealed %8.0f/s  %s\n", "", b.Sealed, bar(b.Sealed, full))
		p.f("%-13s sealed is %.0f %% of bare", "", b.Ratio*100)
		if b.Broker != r.Brokers[0].Broker {
			p.f(", and %.0f %% of the embedded broker's sealed", b.OfFirst*100)
		}
		p.f("\n")
	}
	return p.err
}
