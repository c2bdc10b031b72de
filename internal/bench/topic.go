package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"parley"
	"parley/carrier/mqtt"
	mqttclient "parley/carrier/mqtt/client"
	"parley/secure/stringphone"
)

// TopicOptions say what [Topic] measures.
type TopicOptions struct {
	Brokers    []string      // addresses of brokers that run already, beside those that are started
	Mosquitto  string        // the program, "" if there is none
	Publishers int           // connections that publish
	Window     int           // messages under way on each
	Size       int           // of a text in bytes
	QoS        int           // 0, 1 or 2
	Durable    bool          // the subscriber's session is persistent: a broker may keep each message on disk
	Duration   time.Duration // of publishing, for each broker and kind
	Dir        string        // where brokers keep their data
	Progress   io.Writer     // may be nil
}

func (o *TopicOptions) check() error {
	switch {
	case o.Publishers < 1 || o.Publishers > 1000:
		return fmt.Errorf("%w: %d publishers: 1 to 1000", ErrOptions, o.Publishers)
	case o.Window < 1 || o.Window > 1000:
		return fmt.Errorf("%w: a window of %d: 1 to 1000", ErrOptions, o.Window)
	case o.Size < 0 || o.Size > 512<<10:
		return fmt.Errorf("%w: texts of %d bytes: at most 524288", ErrOptions, o.Size)
	case o.QoS < 0 || o.QoS > 2:
		return fmt.Errorf("%w: QoS %d", ErrOptions, o.QoS)
	case o.Duration < turns*100*time.Millisecond:
		return fmt.Errorf("%w: %v is too short: at least %v", ErrOptions, o.Duration, turns*100*time.Millisecond)
	}
	return nil
}

// Topic measures sealed messages per second from a text to a text, through each
// broker, in turns with the same texts unsealed.
func Topic(ctx context.Context, o TopicOptions) (r *TopicReport, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	brokers, err := o.startBrokers()
	defer func() {
		for _, b := range brokers {
			err = errors.Join(err, b.stop())
		}
	}()
	if err != nil {
		return nil, err
	}
	r = &TopicReport{Publishers: o.Publishers, Window: o.Window, Size: o.Size, QoS: o.QoS, Durable: o.Durable}
	var rates [][2][]float64
	for _, b := range brokers {
		r.Brokers = append(r.Brokers, TopicRates{Broker: b.name})
		rates = append(rates, [2][]float64{})
	}
	for turn := range turns {
		for i, b := range brokers {
			for kind, sealed := range []bool{false, true} {
				rate, err := o.run(ctx, b, sealed, fmt.Sprintf("parley/bench/%d/%d/%d", turn, i, kind))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", b.name, err)
				}
				rates[i][kind] = append(rates[i][kind], rate)
				if o.Progress != nil {
					fmt.Fprintf(o.Progress, "turn %d of %d: %s, %s: %.0f messages/s\n", turn+1, turns, b.name, [2]string{"bare", "sealed"}[kind], rate)
				}
			}
		}
	}
	for i := range r.Brokers {
		b := &r.Brokers[i]
		b.Bare, b.Sealed = median(rates[i][0]), median(rates[i][1])
		b.Ratio = medianRatio(rates[i][1], rates[i][0])
		b.OfFirst = medianRatio(rates[i][1], rates[0][1])
	}
	return r, nil
}

// medianRatio is the median of the turns' ratios: what slows a turn slows both.
func medianRatio(a, b []float64) float64 {
	var all []float64
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return median(all)
}

// run publishes for a while and returns how many messages a second got through.
func (o *TopicOptions) run(ctx context.Context, b *benchBroker, sealed bool, topic string) (rate float64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.Duration+time.Minute, errors.New("messages got lost, or the broker is very slow"))
	defer cancel()
	key := stringphone.GenerateTopicKey()
	reader, err := stringphone.NewTopic(stringphone.Options{TopicKey: key})
	if err != nil {
		return 0, err
	}
	var writers []*stringphone.Topic
	for range o.Publishers * o.Window {
		w, err := stringphone.NewTopic(stringphone.Options{TopicKey: key})
		if err != nil {
			return 0, err
		}
		writers = append(writers, w)
		if err := reader.AddParticipant(w.PublicKey()); err != nil {
			return 0, err
		}
	}
	got := &arrivals{changed: make(chan struct{}, 1)}
	sub, err := o.dial(ctx, b, "sub", o.Durable)
	if err != nil {
		return 0, err
	}
	defer sub.Forget(context.WithoutCancel(ctx))
	err = sub.Subscribe(ctx, topic, byte(o.QoS), func(m mqttclient.Message) error {
		if sealed {
			if text, err := reader.Decode(m.Payload); err != nil || len(text) != o.Size {
				got.fail(fmt.Errorf("a message does not open: %w", err))
			}
		}
		got.add()
		return nil
	})
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	sent, err := o.publish(ctx, b, writers, sealed, topic, got, begin.Add(o.Duration/turns))
	if err != nil {
		return 0, err
	}
	at, err := got.await(ctx, sent, o.QoS == 0)
	if err != nil {
		return 0, err
	}
	return float64(got.count()) / at.Sub(begin).Seconds(), nil
}

func (o *TopicOptions) dial(ctx context.Context, b *benchBroker, id string, durable bool) (*mqttclient.Conn, error) {
	broker, err := mqtt.ParseBroker(b.address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	opt := mqttclient.Options{Broker: broker, Start: mqttclient.Retry, Window: 1000}
	if durable {
		opt.ClientID = "parleybench" + id
		opt.CleanStart = true
	}
	return mqttclient.Dial(ctx, opt)
}

// publish publishes on every connection until the time is over.
func (o *TopicOptions) publish(ctx context.Context, b *benchBroker, writers []*stringphone.Topic, sealed bool, topic string, got *arrivals, until time.Time) (uint64, error) {
	var sent atomic.Uint64
	var wg sync.WaitGroup
	failed := make(chan error, o.Publishers*o.Window)
	for p := range o.Publishers {
		conn, err := o.dial(ctx, b, fmt.Sprint(p), false)
		if err != nil {
			return 0, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		for w := range o.Window {
			writer := writers[p*o.Window+w]
			wg.Go(func() {
				text := make([]byte, o.Size)
				for time.Now().Before(until) && ctx.Err() == nil {
					if sent.Load() > got.count()+backlog { // it is the way through that is measured
						time.Sleep(time.Millisecond)
						continue
					}
					payload := text
					if sealed {
						var err error
						if payload, err = writer.Encode(text); err != nil {
							failed <- err
							return
						}
					}
					if err := patient(ctx, conn, mqttclient.Message{Topic: topic, Payload: payload, QoS: byte(o.QoS)}); err != nil {
						failed <- err
						return
					}
					sent.Add(1)
				}
			})
		}
	}
	wg.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
		return sent.Load(), nil
	}
}

// backlog is how far the publishers may be ahead of the subscriber.
const backlog = 4000

// patient publishes, and waits when the subscriber cannot keep up: the embedded
// broker says so instead of dropping something.
func patient(ctx context.Context, conn *mqttclient.Conn, m mqttclient.Message) error {
	for {
		err := conn.Publish(ctx, m)
		if !errors.Is(err, parley.ErrFull) {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// arrivals counts what comes.
type arrivals struct {
	mu      sync.Mutex
	n       uint64
	last    time.Time
	err     error
	changed chan struct{}
}

func (a *arrivals) add() {
	a.mu.Lock()
	a.n++
	a.last = time.Now()
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

func (a *arrivals) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
}

func (a *arrivals) count() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// await waits until all have come; where some may get lost, until none comes any
// more. It returns when the last one came.
func (a *arrivals) await(ctx context.Context, sent uint64, lossy bool) (time.Time, error) {
	for {
		a.mu.Lock()
		n, last, err := a.n, a.last, a.err
		a.mu.Unlock()
		if err != nil || n >= sent {
			return last, err
		}
		var idle <-chan time.Time
		if lossy {
			idle = time.After(time.Second)
		}
		select {
		case <-a.changed:
		case <-idle:
			return last, nil
		case <-ctx.Done():
			return last, fmt.Errorf("%d of %d messages have come: %w", n, sent, context.Cause(ctx))
		}
	}
}
