package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// takeTurns lets relay and floors run in turns.
func (b *bench) takeTurns(ctx context.Context, f *floors) error {
	var sum Load
	var cpu time.Duration
	var ratios, echoRatios []float64
	var busy float64
	var bare, echo BareResult
	each := b.Duration / turns
	if b.Profile != "" {
		if err := b.relay.profile(filepath.Join(b.Profile, "relay.cpu.pprof")); err != nil {
			return err
		}
	}
	for i := range turns {
		before, err := b.relay.usage()
		if err != nil {
			return err
		}
		others := b.watchOthers()
		l, err := closed(ctx, b.workers, each)
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		busy += others() / turns
		after, err := b.relay.usage()
		if err != nil {
			return err
		}
		cpu += after.CPU - before.CPU
		sum.merge(l)
		if f == nil {
			b.say("turn %d of %d: relay %.0f messages/s", i+1, turns, l.PerSecond())
			continue
		}
		fl, err := f.bare(ctx, b.Conns, each/2)
		if err != nil {
			return err
		}
		ec, err := f.echo(ctx, b.Conns, each/2)
		if err != nil {
			return err
		}
		b.say("turn %d of %d: relay %.0f, echo %.0f, floor %.0f messages/s", i+1, turns, l.PerSecond(), ec.PerSecond(), fl.PerSecond())
		ratios = append(ratios, l.PerSecond()/fl.PerSecond())
		echoRatios = append(echoRatios, l.PerSecond()/ec.PerSecond())
		bare.merge(fl)
		echo.merge(ec)
	}
	if b.Profile != "" {
		if err := b.relay.profile(""); err != nil {
			return err
		}
	}
	r := b.report
	r.Others = busy
	r.Messages, r.Seconds, r.PerSecond = sum.Messages, sum.Elapsed.Seconds(), sum.PerSecond()
	r.P50, r.P99 = ms(sum.Whole.Quantile(0.5)), ms(sum.Whole.Quantile(0.99))
	r.DeliveryP50, r.DeliveryP99 = ms(sum.Delivery.Quantile(0.5)), ms(sum.Delivery.Quantile(0.99))
	r.latency = sum.Whole
	r.CPU = micros(cpu, sum.Messages)
	if f != nil {
		r.Floor = &FloorReport{
			PerSecond: bare.PerSecond(), CPU: micros(bare.CPU, bare.Messages), Ratio: median(ratios),
			EchoPerSecond: echo.PerSecond(), EchoCPU: micros(echo.CPU, echo.Messages), EchoRatio: median(echoRatios),
		}
		if r.CPU > 0 && r.Relay != inProcess {
			r.Floor.RatioCPU = r.Floor.CPU / r.CPU
		}
	}
	return nil
}

// halfLoad offers half of the rate that was reached, at random times.
func (b *bench) halfLoad(ctx context.Context) error {
	rate := b.report.PerSecond / 2
	b.say("half load: %.0f messages/s", rate)
	others := b.watchOthers()
	l, err := paced(ctx, b.workers, max(b.Duration/2, 500*time.Millisecond), rate)
	if err != nil {
		return fmt.Errorf("half load: %w", err)
	}
	b.report.HalfLoad = &HalfLoad{
		Rate: rate, Others: others(), Messages: l.Messages, histogram: l.Whole,
		P50: ms(l.Whole.Quantile(0.5)), P99: ms(l.Whole.Quantile(0.99)), Max: ms(l.Whole.Max()),
	}
	return nil
}

// watchOthers returns a function that tells which share of the machine other
// programs have used since; 0 where that cannot be known.
func (b *bench) watchOthers() func() float64 {
	look := func() (others, all time.Duration, err error) {
		busy, all, err := machineTime()
		if err != nil {
			return 0, 0, err
		}
		own, err := ownUsage()
		if err != nil || b.relay.p != nil {
			return busy - own.CPU, all, err
		}
		relay, err := b.relay.usage()
		return busy - own.CPU - relay.CPU, all, err
	}
	others0, all0, err0 := look()
	return func() float64 {
		others, all, err := look()
		if err != nil || err0 != nil || all <= all0 {
			return 0
		}
		return max(0, float64(others-others0)/float64(all-all0))
	}
}

func micros(d time.Duration, n uint64) float64 {
	return float64(d) / float64(time.Microsecond) / float64(max(n, 1))
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
