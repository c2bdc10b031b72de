package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"parley/internal/rsakey"
	"parley/keydir"
)

// postUser answers POST /users: it registers a name.
func (d *Directory) postUser(w http.ResponseWriter, r *http.Request) {
	b, ok := body(w, r)
	if !ok {
		return
	}
	reg, keys, err := keydir.ParseRegistration(b)
	if err == nil && !deliverable(reg.Email) {
		err = keydir.ErrEmail
	}
	if err != nil {
		d.fail(w, err)
		return
	}
	// What is wrong with a request is said without a limit, what costs more is not.
	if d.limited(w, r, d.limits.registrations) {
		return
	}
	now := d.o.Now()
	if reg.Proof != nil {
		if err := reg.Proof.Verify(d.PublicKey(), reg.Username, reg.Email, keys, now); err != nil {
			d.fail(w, err)
			return
		}
	}
	box := d.mailbox(reg.Email)
	err = d.store.write(func(c *conn) error { return c.register(&reg, keys, box, d.o.Limits.MailsPerDay, now) })
	if errors.Is(err, errMailbox) {
		d.tooMany(w, 24*time.Hour, fmt.Sprintf("%v: it gets at most %d a day; try again in a day, or take another address", err, d.o.Limits.MailsPerDay))
		return
	}
	if err != nil {
		d.fail(w, err)
		return
	}
	d.counts.registrations.Add(1)
	d.poke()
	echo, err := json.Marshal(struct {
		Username   string `json:"username"`
		Email      string `json:"email"`
		MessageKey string `json:"public_key_message"`
		SignKey    string `json:"public_key_sign"`
	}{reg.Username, reg.Email, string(rsakey.EncodePublic(keys.Message)), string(rsakey.EncodePublic(keys.Sign))})
	if err != nil {
		d.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	w.Write(append(echo, '\n'))
}

// getUser answers GET /users/U: the signed keys.
func (d *Directory) getUser(w http.ResponseWriter, r *http.Request) {
	d.counts.lookups.Add(1)
	name := r.PathValue("user")
	if keydir.CheckUsername(name) != nil {
		d.fail(w, errNotFound)
		return
	}
	d.reply(w, name)
}

// reply sends the signed answer about a name.
func (d *Directory) reply(w http.ResponseWriter, name string) {
	b, err := d.answer(name)
	if err != nil {
		d.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b)
}

// postKeys answers POST /users/U/keys: a rotation.
func (d *Directory) postKeys(w http.ResponseWriter, r *http.Request) {
	b, ok := body(w, r)
	if !ok {
		return
	}
	name, now := r.PathValue("user"), d.o.Now()
	if keydir.CheckUsername(name) != nil {
		d.fail(w, errNotFound)
		return
	}
	var a *account
	err := d.store.read(func(c *conn) (err error) { a, err = c.active(name); return err })
	if err != nil {
		d.fail(w, err)
		return
	}
	old, err := a.keys()
	if err != nil {
		d.fail(w, err)
		return
	}
	rot, keys, err := plausible(b, a.version, old)
	if err != nil {
		d.fail(w, err)
		return
	}
	// What is wrong at a glance is said without a limit; verifying signatures is work.
	if d.limited(w, r, d.limits.registrations) {
		return
	}
	if err = rot.VerifyOld(old.Sign, name, keys); err == nil {
		_, _, err = keydir.ParseRotation(b, d.PublicKey(), name, now) // the new keys' proofs
	}
	if err != nil {
		d.fail(w, err)
		return
	}
	if err := d.store.write(func(c *conn) error { return c.rotate(name, &rot, keys, old.Sign, now) }); err != nil {
		d.fail(w, err)
		return
	}
	d.answers.drop(name)
	d.counts.rotations.Add(1)
	d.reply(w, name)
}

// plausible reads a rotation as far as that can be done without verifying a signature.
func plausible(body []byte, version int64, old keydir.Keys) (rot keydir.Rotation, keys keydir.Keys, err error) {
	if err := json.Unmarshal(body, &rot); err != nil {
		return rot, keys, fmt.Errorf("%w: %w", keydir.ErrMalformed, err)
	}
	if rot.Version != version+1 {
		return rot, keys, errVersion
	}
	if rot.Proof == nil {
		return rot, keys, fmt.Errorf("%w: there is none", keydir.ErrProof)
	}
	if keys, err = keydir.ParseKeys(rot.MessageKey, rot.SignKey); err == nil && keys.Equal(old) {
		err = errSame
	}
	return rot, keys, err
}

// postMail answers POST /users/U/mail: a new link to delete an account, sent to its
// address. The answer does not depend on whether it is.
func (d *Directory) postMail(w http.ResponseWriter, r *http.Request) {
	b, ok := body(w, r)
	if !ok {
		return
	}
	var in struct {
		Email string `json:"email"`
	}
	name, now := r.PathValue("user"), d.o.Now()
	switch {
	case keydir.CheckUsername(name) != nil:
		d.fail(w, errNotFound)
		return
	case json.Unmarshal(b, &in) != nil || keydir.CheckEmail(in.Email) != nil || !deliverable(in.Email):
		d.fail(w, keydir.ErrEmail)
		return
	}
	if d.limited(w, r, d.limits.registrations) {
		return
	}
	// Whose address it is is looked up when the mail's turn comes: the same is done
	// now in every case.
	err := d.store.write(func(c *conn) error {
		return c.Exec("INSERT INTO outbox (name, address, created, due) VALUES (?, ?, ?, ?)", name, in.Email, now.UnixMilli(), now.UnixMilli())
	})
	if err != nil {
		d.fail(w, err)
		return
	}
	d.poke()
	w.WriteHeader(http.StatusAccepted)
}

// getKey answers GET /key.
func (d *Directory) getKey(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	w.Write(d.keyPEM)
}
