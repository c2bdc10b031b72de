package stringphone

import (
	"crypto/ed25519"
	"errors"
	"fmt"
)

// What a [Member] refuses besides the core's errors.
var (
	// ErrExists: Create on a Bucket that holds a member already.
	ErrExists = errors.New("this place holds a member of a topic already")
	// ErrNoState: Load on a Bucket that holds none.
	ErrNoState = errors.New("this place holds no member of a topic: create one first")
	// ErrNoHeader: a message without our header where all must have one. The
	// packet never chooses how it is trusted.
	ErrNoHeader = errors.New("the message has no header, and this topic demands one: its sender speaks the plain protocol")
	// ErrWrongTopic: the message was made for another topic.
	ErrWrongTopic = errors.New("the message was made for another topic")
	// ErrWrongSender: a member signed what another member wrote.
	ErrWrongSender = errors.New("the message was written by somebody else than who signed it")
	// ErrSkip: more messages of that sender are missing than are passed over.
	ErrSkip = errors.New("too many messages of this sender are missing: introduce yourself again")
	// ErrEpoch: a trusted member used a key that we lack: we missed a rotation,
	// or it was long ago. See [Member.NeedsKey].
	ErrEpoch = errors.New("the message is under a key that we lack: a rotation was missed; introduce yourself again")
	// ErrRemoved: a member has removed us, or the key in question was removed.
	ErrRemoved = errors.New("removed from the topic: only a new introduction leads back")
	// ErrMode: this mode cannot do that.
	ErrMode = errors.New("the topic's mode does not allow that")
	// ErrOften: that member was answered five times within ten minutes.
	ErrOften = errors.New("this member was answered often enough for now: wait ten minutes")
	// ErrCrowded: a topic has at most [MaxMembers].
	ErrCrowded = errors.New("the topic has as many members as it can")
	// ErrUsedUp: the last epoch or counter was used.
	ErrUsedUp = errors.New("the topic is used up: make a new one")
	// ErrNoPost: the change must tell the others, and Load got no post.
	ErrNoPost = errors.New("this change must be sent to the others, and there is no place to send from")

	// errAnswered: who sends it again, in its owner's name, would have the topic
	// change its key as often as he likes, and its owner lose it.
	errAnswered = fmt.Errorf("%w: this introduction was answered before", ErrReplay)

	errDamaged = errors.New("the state of this topic is damaged: restore it or introduce yourself anew")
	// ErrErased is [ErrEpoch] for keys that were erased: the message is late, or its
	// sender is behind. Waiting does not help.
	ErrErased = fmt.Errorf("%w (its keys were erased long ago)", ErrEpoch)
)

// An IntroError is an introduction whose signature was verified: somebody who
// owns Key asks for the topic key. It wraps [ErrIntroduction].
type IntroError struct {
	Message []byte            // for [Member.Admit]
	Key     ed25519.PublicKey // show its [Fingerprint] to a person
	Member  bool              // a participant already: it lost its state, or missed a rotation
	Removed bool              // was removed before
	// Answered: we did, or, in ForwardSecret, another member did. Leave a first
	// repetition to it.
	Answered bool
}

func (e *IntroError) Error() string { return ErrIntroduction.Error() }
func (e *IntroError) Unwrap() error { return ErrIntroduction }

// A ReplyError is a reply to our introduction. It wraps [ErrIntroductionReply].
type ReplyError struct {
	Message []byte            // for [Member.Accept]
	Key     ed25519.PublicKey // of the replier; a mere claim if not Signed
	Signed  bool              // and the signature was verified
}

func (e *ReplyError) Error() string { return ErrIntroductionReply.Error() }
func (e *ReplyError) Unwrap() error { return ErrIntroductionReply }

func badFormat(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
}
