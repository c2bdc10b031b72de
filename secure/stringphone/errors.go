package stringphone

import "errors"

// The manual's six errors (seeds/string-phone 4.3.2), under the names they have
// there.
var (
	ErrUntrustedKey      = errors.New("the sender's key is not trusted: compare its fingerprint over a channel you trust, then add the participant")
	ErrBadSignature      = errors.New("the signature is forged or the message was damaged")
	ErrMalformed         = errors.New("not a String phone message")
	ErrMissingTopicKey   = errors.New("the topic key is not known yet: introduce yourself first")
	ErrIntroduction      = errors.New("the message is an introduction: somebody asks for the topic key")
	ErrIntroductionReply = errors.New("the message is the reply to an introduction")
)

// What the original left to whatever its libraries raised, and what it did not
// refuse.
var (
	// ErrWrongTopicKey: the signature is good, and the box was made with another
	// topic key.
	ErrWrongTopicKey = errors.New("the message was encrypted with another topic key")
	// ErrWrongReply: the reply is addressed to us and does not open: it answers
	// another introduction of ours, or was damaged.
	ErrWrongReply = errors.New("the reply does not open: it answers another introduction")
	// ErrUnsignedReply: nobody vouches for the topic key in it.
	ErrUnsignedReply = errors.New("the reply is not signed, so that anybody could have made it: accept unsigned replies only from the original's devices")
	// ErrNotPinned: the reply is signed, by somebody else than was expected.
	ErrNotPinned = errors.New("the reply comes from another key than the pinned one")
	// ErrReplay: the box was seen before.
	ErrReplay = errors.New("the message was seen before")
	// ErrWrongProperty: this type of message has no such part (the manual's
	// ValueError).
	ErrWrongProperty = errors.New("a message of this type has no such part")
	// ErrKeySize: a seed, topic key or public key that is not 32 bytes. It is
	// [ErrMalformed] too.
	ErrKeySize error = keySizeError{}
)

type keySizeError struct{}

func (keySizeError) Error() string        { return "a key has the wrong size" }
func (keySizeError) Is(target error) bool { return target == ErrMalformed }
