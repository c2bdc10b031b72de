package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"parley"
	"parley/paddevice"
	"parley/secure/otp"
)

var errStranger = fmt.Errorf("%w: this client is not paired with the device", parley.ErrDenied)

// channel serves the paired channel. Who is not paired gets nothing but an answer to a
// pairing code.
func (d *device) channel(w http.ResponseWriter, r *http.Request) {
	fp, err := paddevice.PeerFingerprint(*r.TLS)
	if err != nil {
		w.Header().Set("Connection", "close")
		http.Error(w, "no key", http.StatusForbidden)
		return
	}
	name, known, err := clientOf(d.dir, fp)
	if err != nil {
		d.trouble("clients cannot be told apart, and none gets anything", err)
	}
	if !known && r.URL.Path != paddevice.PathPair {
		d.log.Add(Entry{Kind: KindClient, Text: fmt.Sprintf("from %s, with the key %x…", r.RemoteAddr, fp[:8])})
		d.log.Sync()
		w.Header().Set("Connection", "close")
		reply(w, http.StatusForbidden, paddevice.Fail(errStranger))
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "only POST", http.StatusMethodNotAllowed)
		return
	}
	var large places // none: a stranger's request is short
	if known {
		large = pairedLarge.of(fp)
	} else {
		w.Header().Set("Connection", "close")
	}
	body, release, err := readBody(w, r, large)
	if err != nil {
		return
	}
	q, err := paddevice.ParseRequest(body)
	release()
	if err != nil {
		reply(w, http.StatusBadRequest, paddevice.Fail(err))
		return
	}
	var a paddevice.Reply
	if r.URL.Path == paddevice.PathPair {
		err = d.pair(r, name, known, fp, q)
	} else {
		a, err = d.answer(r.Context(), r.URL.Path, name, fp, q)
	}
	if err != nil {
		reply(w, statusOf(err), paddevice.Fail(d.outward(err)))
		return
	}
	reply(w, http.StatusOK, a)
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errPath):
		return http.StatusNotFound
	case errors.Is(err, parley.ErrDenied):
		return http.StatusForbidden
	case errors.Is(err, errStopping):
		return http.StatusServiceUnavailable
	}
	for _, known := range []error{parley.ErrForged, parley.ErrMalformed, parley.ErrSeen, parley.ErrRefused, parley.ErrNoKey} {
		if errors.Is(err, known) {
			return http.StatusUnprocessableEntity
		}
	}
	return http.StatusInternalServerError
}

var errPath = fmt.Errorf("%w: the device has nothing of that name", parley.ErrRefused)

var errNoID = fmt.Errorf("%w: a package has an id that is not zero", parley.ErrMalformed)

func (d *device) answer(ctx context.Context, path, client string, fp paddevice.Fingerprint, q *paddevice.Request) (a paddevice.Reply, err error) {
	j := &job{client: client, owner: ownerOf(hex.EncodeToString(fp[:])), self: q.Self, peer: q.Peer, id: &q.ID, data: q.Data}
	q.Data = nil // the job may let it go
	switch path {
	case paddevice.PathPackage, paddevice.PathGrant:
		switch {
		case q.ID == [16]byte{}:
			err = errNoID
		case path == paddevice.PathGrant:
			a.Data, err = d.granted(ctx, j, q.N)
		case len(j.data) > otp.MaxBody:
			err = fmt.Errorf("%w: a message of %d bytes, at most %d", parley.ErrRefused, len(j.data), otp.MaxBody)
		default:
			a.Data, err = d.packaged(ctx, j)
		}
	case paddevice.PathUnpackage:
		a.Opened, err = d.opened(ctx, j)
	case paddevice.PathDone:
		err = d.done(ctx, j, q.Digest)
	case paddevice.PathStatus:
		var st otp.Status
		st, err = d.status(ctx, j)
		a.Status = &st
	case paddevice.PathPads:
		a.Pads = d.all(ctx)
	default:
		err = errPath
	}
	return a, err
}

// pair answers a pairing code. A client that has lost the answer is told again.
func (d *device) pair(r *http.Request, name string, known bool, fp paddevice.Fingerprint, q *paddevice.Request) error {
	if known && name == q.Name {
		return nil
	}
	err := pair(r.Context(), d.log, q.Name, fp, q.Secret)
	if errors.Is(err, errCode) {
		d.log.Add(Entry{Kind: KindCode, Text: "from " + r.RemoteAddr})
		d.log.Sync()
	}
	d.internal("pair", &job{client: q.Name}, err)
	return err
}
