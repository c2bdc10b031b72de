package server

import (
	"context"
	"errors"
	"strings"

	"parley"
	"parley/paddevice"
)

// trouble tells the person, on the terminal and in the log, of what no client is told. The
// log counts what repeats, so that neither is flooded.
func (d *device) trouble(what string, err error) {
	d.log.Add(Entry{Kind: KindFailed, Text: what + ": " + err.Error()})
}

// internal does so for an error that is none of the contract's.
func (d *device) internal(op string, j *job, err error) {
	if err == nil || known(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	d.log.Add(Entry{Kind: KindFailed, Peer: string(j.peer), Client: j.client, Text: op + " for " + string(j.self) + ": " + err.Error()})
}

// known reports whether a client is told in words.
func known(err error) bool {
	return len(paddevice.Fail(err).Kinds) > 0
}

// outward is an error as clients may see it: the device's folders are not theirs to know.
type outward struct {
	text string
	err  error
}

func (o outward) Error() string { return o.text }
func (o outward) Unwrap() error { return o.err }

func (d *device) outward(err error) error {
	text := err.Error()
	for _, folder := range []string{d.dir, realPath(d.dir), d.marks, realPath(d.marks)} {
		if len(folder) > 1 {
			text = strings.ReplaceAll(text, folder+"/", "")
			text = strings.ReplaceAll(text, folder, "the device's folder")
		}
	}
	return outward{text, err}
}

// keeps reports whether a pad of somebody is here.
func (d *device) keeps(uid parley.Name) bool {
	for _, p := range d.pads.All() {
		if p.Self() == uid {
			return true
		}
	}
	return false
}
