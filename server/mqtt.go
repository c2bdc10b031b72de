package server

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	mqttserver "parley/carrier/mqtt/server"
)

// mqttName is the broker's folder in the data folder.
const mqttName = "mqtt"

// openMQTT starts the MQTT broker, if an address for it is given.
func (s *Server) openMQTT(cfg *Config, fronts int, trouble *trouble) error {
	if cfg.MQTT == "" && cfg.MQTTTLS == "" {
		return nil
	}
	users, err := readUsers(cfg.MQTTUsers)
	if err != nil {
		return err
	}
	if cfg.MQTTTLS != "" {
		if s.cert, err = loadCertificate(cfg); err != nil {
			return err
		}
	}
	s.mqtt, err = mqttserver.New(mqttserver.Options{
		Dir: filepath.Join(cfg.Data, mqttName), Users: users, Anonymous: cfg.MQTTAnonymous,
		MemTable: int(cfg.Store.MemTable), Cache: int64(cfg.Store.Cache), Reserve: uint64(cfg.Store.Reserve),
		Scrub: time.Duration(cfg.Store.Scrub), Trouble: trouble.report, Limits: cfg.MQTTLimits.limits(fronts, s.log),
	})
	return err
}

func (m *MQTTLimits) limits(fronts int, log *slog.Logger) mqttserver.Limits {
	wanted := m.Connections
	if wanted == 0 {
		wanted = mqttserver.DefaultLimits().Connections
	}
	return mqttserver.Limits{
		Connections: connections(wanted, fronts, log), ConnectionsPerHost: m.ConnectionsPerHost, Connecting: m.Connecting,
		Packet: int(m.Packet), Sessions: m.Sessions, Subscriptions: m.Subscriptions,
		TopicBytes: m.TopicBytes, TopicLevels: m.TopicLevels, Inflight: m.Inflight, Aliases: m.Aliases,
		QueueMessages: m.QueueMessages, QueueBytes: int64(m.QueueBytes), Queued: m.Queued,
		QoS0Messages: m.QoS0Messages, QoS0Bytes: int(m.QoS0Bytes),
		RetainedMessages: m.RetainedMessages, RetainedBytes: int64(m.RetainedBytes), Memory: int64(m.Memory), State: int64(m.State),
		SessionExpiry: time.Duration(m.SessionExpiry), KeepAlive: time.Duration(m.KeepAlive),
		Connect: time.Duration(m.Connect), PacketTime: time.Duration(m.Packets), Write: time.Duration(m.Write),
	}
}

func readUsers(path string) (*mqttserver.Users, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: MQTT users: %w", ErrConfig, err)
	}
	defer f.Close()
	users, err := mqttserver.ParseUsers(f)
	if err != nil {
		return nil, fmt.Errorf("%w: MQTT users: %s: %w", ErrConfig, path, err)
	}
	return users, nil
}

// MQTTUser returns the line of an mqtt_users file that lets a user in with a
// password of 1 to 1,024 bytes. The error says what is wrong with either.
func MQTTUser(name string, password []byte) (string, error) {
	return mqttserver.HashPassword(name, password)
}
