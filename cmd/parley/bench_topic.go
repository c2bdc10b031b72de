package main

import (
	"context"
	"os/exec"
	"time"

	"parley/internal/bench"
)

type benchTopicCmd struct {
	Broker      []string      `short:"b" sep:"none" placeholder:"URL" help:"Measure this broker too. Repeatable."`
	NoMosquitto bool          `help:"Leave Mosquitto out, also where it is installed."`
	Publishers  int           `default:"4" help:"Connections that publish."`
	Window      int           `default:"16" help:"Messages under way on each."`
	Size        int           `default:"100" help:"Size of a text in bytes."`
	QoS         int           `name:"qos" default:"1" enum:"0,1,2" help:"Quality of service."`
	Durable     bool          `help:"The subscriber's session outlives its connection: the embedded broker then has each message on disk before it acknowledges it; Mosquitto saves now and then."`
	Duration    time.Duration `default:"10s" help:"Time of publishing for each broker, sealed and bare."`
	Dir         string        `type:"existingdir" help:"Where the brokers keep their data."`
}

func (c *benchTopicCmd) Run(ctx context.Context, a *app) error {
	mosquitto := ""
	if !c.NoMosquitto {
		var err error
		if mosquitto, err = findMosquitto(); err != nil {
			a.note("Mosquitto is not installed and is left out: only the embedded broker is measured.")
		}
	}
	r, err := bench.Topic(ctx, bench.TopicOptions{
		Brokers: c.Broker, Mosquitto: mosquitto, Publishers: c.Publishers, Window: c.Window, Size: c.Size, QoS: c.QoS,
		Durable: c.Durable, Duration: c.Duration, Dir: c.Dir, Progress: progress{a},
	})
	if err != nil {
		return ofBench(err)
	}
	return a.result(r, text(r.WriteText))
}

// findMosquitto looks also where Debian puts it, which is not in everybody's PATH.
func findMosquitto() (string, error) {
	if path, err := exec.LookPath("mosquitto"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/mosquitto")
}
