package bench

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A short run through the embedded broker: sealed and bare messages all come
// through, and the report says how many.
func TestTopic(t *testing.T) {
	for _, o := range []TopicOptions{
		{Publishers: 2, Window: 4, Size: 20, QoS: 1, Duration: 500 * time.Millisecond},
		{Publishers: 1, Window: 2, Size: 0, QoS: 2, Duration: 500 * time.Millisecond, Durable: true},
	} {
		o.Dir = t.TempDir()
		r, err := Topic(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Brokers) != 1 || r.Brokers[0].Sealed <= 0 || r.Brokers[0].Bare <= 0 || r.Brokers[0].OfFirst != 1 {
			t.Errorf("%+v", r)
		}
		var b strings.Builder
		if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "embedded") || !strings.Contains(b.String(), "sealed is ") {
			t.Errorf("%v\n%s", err, &b)
		}
	}
}

func TestTopicOptions(t *testing.T) {
	good := TopicOptions{Publishers: 1, Window: 1, Size: 1, QoS: 1, Duration: time.Second}
	for _, bad := range []func(*TopicOptions){
		func(o *TopicOptions) { o.Publishers = 0 },
		func(o *TopicOptions) { o.Window = 1001 },
		func(o *TopicOptions) { o.Size = -1 },
		func(o *TopicOptions) { o.QoS = 3 },
		func(o *TopicOptions) { o.Duration = time.Millisecond },
	} {
		o := good
		bad(&o)
		if _, err := Topic(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
