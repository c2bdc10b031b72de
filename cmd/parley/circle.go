package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"parley/internal/term"
	"parley/messenger"
)

type circleCmd struct {
	Set    circleSetCmd    `cmd:"" help:"Give several contacts one name to send to."`
	List   circleListCmd   `cmd:"" help:"List your circles."`
	Remove circleRemoveCmd `cmd:"" help:"Forget a circle. Its contacts stay."`
}

type circleSetCmd struct {
	Name    string   `arg:""`
	Members []string `arg:"" name:"contact" help:"Contacts. parley send NAME TEXT sends to each of them, in your conversation with each."`
}

func (c *circleSetCmd) Run(ctx context.Context, a *app) error {
	circle, err := repeat(ctx, a, func(api messenger.API) (messenger.Circle, error) { return api.SetCircle(ctx, c.Name, c.Members) })
	if err != nil {
		return err
	}
	return a.result(circle, func() string {
		return fmt.Sprintf("parley send %s TEXT goes to %s.\n", quoted(circle.Name), term.Line(strings.Join(circle.Members, ", ")))
	})
}

type circleListCmd struct{}

func (c *circleListCmd) Run(ctx context.Context, a *app) error {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Circle, error) { return api.Circles(ctx) })
	if err != nil {
		return err
	}
	if len(all) == 0 && !a.json {
		return a.print("No circles. Make one: parley circle set NAME CONTACT...\n")
	}
	for _, circle := range all {
		if err := a.result(circle, func() string {
			return fmt.Sprintf("%s: %s\n", term.Line(circle.Name), term.Line(strings.Join(circle.Members, ", ")))
		}); err != nil {
			return err
		}
	}
	return nil
}

type circleRemoveCmd struct {
	Name string `arg:""`
}

func (c *circleRemoveCmd) Run(ctx context.Context, a *app) error {
	circle, err := once(ctx, a, func(api messenger.API) (messenger.Circle, error) { return api.SetCircle(ctx, c.Name, nil) })
	if err != nil {
		return err
	}
	return a.result(circle, func() string {
		return fmt.Sprintf("The circle %s is gone; its contacts stay.\n", term.Line(circle.Name))
	})
}

// isCircle reports whether a name that is no contact's is a circle's.
func (a *app) isCircle(ctx context.Context, name string) bool {
	all, err := repeat(ctx, a, func(api messenger.API) ([]messenger.Circle, error) { return api.Circles(ctx) })
	for _, c := range all {
		if strings.EqualFold(c.Name, strings.TrimSpace(name)) {
			return err == nil
		}
	}
	return false
}

// sendAll sends to each member of a circle, and waits for all.
func (c *sendCmd) sendAll(ctx context.Context, a *app, text string) error {
	all, err := once(ctx, a, func(api messenger.API) ([]messenger.Message, error) { return api.SendAll(ctx, c.Contact, text) })
	if err != nil {
		return err
	}
	var failed error
	for _, m := range all {
		got, err := a.follow(ctx, m, c.Wait, c.Timeout)
		if !a.json {
			if err := a.printf("%s: ", term.Line(m.Contact)); err != nil {
				return err
			}
		}
		if err := a.sent(got, err); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.Contact, err))
		}
	}
	return failed
}
