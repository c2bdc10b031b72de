package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	mqttserver "parley/carrier/mqtt/server"
)

// A benchBroker is a broker under test.
type benchBroker struct {
	name, address string
	stop          func() error
}

// startBrokers starts the embedded broker and, where it is installed, Mosquitto.
// What it returns must be stopped, also after an error.
func (o *TopicOptions) startBrokers() (all []*benchBroker, err error) {
	b, err := o.startEmbedded()
	if err != nil {
		return nil, err
	}
	all = append(all, b)
	if o.Mosquitto != "" {
		m, err := o.startMosquitto()
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
	for _, a := range o.Brokers {
		all = append(all, &benchBroker{name: a, address: a, stop: func() error { return nil }})
	}
	return all, nil
}

func (o *TopicOptions) startEmbedded() (*benchBroker, error) {
	dir, err := os.MkdirTemp(o.Dir, "parley-bench-mqtt-")
	if err != nil {
		return nil, err
	}
	s, err := mqttserver.New(mqttserver.Options{Dir: dir})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, s.Shutdown(context.Background()), os.RemoveAll(dir))
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	return &benchBroker{name: "embedded", address: "mqtt://" + l.Addr().String(), stop: func() error {
		err := s.Shutdown(context.Background())
		if e := <-served; !errors.Is(e, mqttserver.ErrShutdown) {
			err = errors.Join(err, e)
		}
		return errors.Join(err, os.RemoveAll(dir))
	}}, nil
}

// startMosquitto starts it as it comes, on a free port of this machine.
func (o *TopicOptions) startMosquitto() (*benchBroker, error) {
	dir, err := os.MkdirTemp(o.Dir, "parley-bench-mosquitto-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\npersistence %v\npersistence_location %s/\nlog_type error\n", addr.Port, o.Durable, dir)
	if os.Geteuid() == 0 {
		text += "user root\n" // so that it may write into the folder
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	var log bytes.Buffer
	cmd := exec.Command(o.Mosquitto, "-c", conf)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return os.RemoveAll(dir)
	}
	for begin := time.Now(); ; {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			c.Close()
			break
		}
		if time.Since(begin) > 10*time.Second {
			return nil, errors.Join(fmt.Errorf("mosquitto did not start: %s", log.Bytes()), stop())
		}
		time.Sleep(20 * time.Millisecond)
	}
	return &benchBroker{name: "mosquitto", address: "mqtt://" + addr.String(), stop: stop}, nil
}
