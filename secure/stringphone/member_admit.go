package stringphone

import (
	"crypto/ed25519"
	"time"
)

// Admit trusts the key of an introduction and answers it with a signed reply,
// which gives the topic key away: ask a person first, or a list, or a pairing
// window. In Headed the others are told by an announcement, or, if the key was
// removed before, by a rotation; in ForwardSecret always by a rotation.
//
// An introduction that was answered is answered again only for a key that is a
// participant now and has not written under the present key since, which shows that
// it has the answer; and each participant five times within ten minutes: the errors
// are [ErrReplay] and [ErrOften]. Others are [ErrMalformed], [ErrBadSignature],
// [ErrMissingTopicKey], [ErrCrowded], [ErrRemoved], [ErrEpoch] and [ErrNoPost].
func (m *Member) Admit(now time.Time, intro []byte) (reply []byte, err error) {
	err = m.do(now, func(d *draft) error {
		reply, err = d.admitIntro(intro)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

func (d *draft) admitIntro(intro []byte) ([]byte, error) {
	key, encryption, err := checkIntro(intro)
	if err != nil {
		return nil, err
	}
	id := IDOf(key)
	switch {
	case id == d.self.id:
		return nil, badFormat("our own introduction")
	case d.st.has(flagRemoved):
		return nil, ErrRemoved
	case !d.st.has(flagKey):
		return nil, ErrMissingTopicKey
	case d.st.has(flagLacks):
		return nil, ErrEpoch
	case d.st.mode != Plain && !d.canPost():
		return nil, ErrNoPost
	}
	if err := d.mayAnswer(id, intro); err != nil {
		return nil, err
	}
	gone := d.isGone(id)
	d.raise(id)
	p, err := d.admit(key, d.self.id, memberTrusted)
	if err != nil {
		return nil, err
	}
	if gone || d.st.has(flagDirty) || d.st.mode == ForwardSecret { // it comes in with a rotation
		d.noteBack(id, d.st.epoch)
	}
	p.answers = append(p.answers, millis(d.now))
	if len(p.answers) > maxAnswers {
		p.answers = p.answers[1:]
	}
	p.flags &^= memberHeard
	d.save(p)
	return d.answer(intro, encryption, p, gone)
}

// mayAnswer bounds what a repeated introduction can cause.
func (d *draft) mayAnswer(id ID, intro []byte) error {
	p, err := d.participant(id)
	if err != nil {
		return err
	}
	t := d.tag(guardAnswer, intro)
	if d.seen(t) {
		if p == nil || p.outside() || p.heard() {
			return errAnswered
		}
	} else {
		d.remember(t)
	}
	if p == nil {
		return nil
	}
	recent, now := 0, millis(d.now)
	for _, at := range p.answers {
		if at <= now && now-at < uint64(answerSpan.Milliseconds()) {
			recent++
		}
	}
	if recent >= maxAnswers {
		return ErrOften
	}
	return nil
}

// answer tells the others, and makes the reply.
func (d *draft) answer(intro, encryption []byte, p *participant, gone bool) ([]byte, error) {
	var key [KeySize]byte
	var err error
	switch {
	case d.st.mode == ForwardSecret:
		j := joiner{p.key, [32]byte(encryption), [signatureSize]byte(intro[introSigAt:])}
		if allZero(p.sealing[:]) {
			d.learnSealing(p, j.sealing, stage{d.st.epoch + 1, 0})
		}
		key, err = d.rotate(nil, []joiner{j})
	case d.st.mode == Headed && (gone || d.st.has(flagDirty)):
		key, err = d.rotate(nil, []joiner{{key: p.key}})
	default:
		if d.st.mode == Headed {
			if err := d.announce(); err != nil {
				return nil, err
			}
		}
		var k *epochKey
		if k, err = d.sendingKey(); err == nil {
			key = k.key
		}
	}
	if err != nil {
		return nil, err
	}
	g := grant{mode: d.st.mode, epoch: d.st.epoch}
	if d.st.mode != Plain {
		if err := d.fillGrant(&g); err != nil {
			return nil, err
		}
	}
	ephemeral, err := d.newKey()
	if err != nil {
		return nil, err
	}
	box, err := AsymmetricCryptoFromKey(ephemeral[:])
	if err != nil {
		return nil, err
	}
	reply, err := makeReply(d.random, intro, key[:], d.self.public(), box)
	if err != nil {
		return nil, err
	}
	return signReply(intro, reply, g.marshal(), d.self.private), nil
}

func (d *draft) fillGrant(g *grant) (err error) {
	k, err := d.sendingKey()
	if err != nil {
		return err
	}
	g.hash = k.hash
	if g.sealing, err = d.ownSealing(); err != nil {
		return err
	}
	all, err := d.insiders()
	if err != nil {
		return err
	}
	g.members = []ed25519.PublicKey{d.self.public()}
	for _, p := range all {
		g.members = append(g.members, p.key)
	}
	for _, k := range g.members {
		if epoch, back := d.backSince(IDOf(k)); back {
			g.back = append(g.back, returned{IDOf(k), epoch})
		}
	}
	g.removed = d.goneIDs()
	return nil
}
