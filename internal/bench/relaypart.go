package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"parley/server"
)

// relayPart is a relay as parleyd runs it, with its defaults.
type relayPart struct{ *server.Server }

func startRelay(r role) (part, error) {
	cfg := server.Defaults()
	cfg.Data, cfg.SMP2020 = r.Dir, r.Listen
	cfg.Limits.Connections = 120_000 // more than any run opens
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := server.Start(cfg, log)
	if err != nil {
		return nil, err
	}
	if len(s.Addresses()) != 1 {
		return nil, errors.Join(fmt.Errorf("the relay listens at %q, not at one address", s.Addresses()), s.Shutdown(context.Background()))
	}
	return relayPart{s}, nil
}

func (p relayPart) address() string { return p.Addresses()[0] }

func (p relayPart) do(_ context.Context, q request) (reply, error) {
	return reply{}, fmt.Errorf("the relay does not know %q", q.Op)
}

func (p relayPart) Close() error { return p.Shutdown(context.Background()) }
