// Package stringphone encrypts and signs messages between many participants over
// any channel that all of them can hear: an MQTT topic, a chat room, a socket. It
// is the String phone protocol (seeds/string-phone), byte for byte on the wire,
// and stricter where the original was not safe.
//
// A [Topic] is the manual's interface: [Topic.Encode], [Topic.Decode],
// introductions and replies. A [Member] adds what the original lacks and keeps
// its state in a [parley.Bucket]: a guard against replays that survives restarts,
// rotation of the topic key when somebody is removed, and forward secrecy.
//
// The package is pure: bytes in, bytes out. It opens no connection and no file,
// has no clock and writes no log.
//
// # Packets
//
// Fields are raw and have no length prefixes; sizes in bytes.
//
//	message       's', signature 64, sender ID 16, nonce 24, MAC 16, ciphertext
//	introduction  'i', signing key 32, signature 64, X25519 key 32
//	reply         'r', recipient ID 16, nonce 24, MAC 16, encrypted topic key 32,
//	              replier's X25519 key 32, replier's signing key 32
//
// The manual calls the first type 'm'; the library that was released uses 's'
// and refuses 'm'. [Options.ManualType] speaks as the manual does.
package stringphone

// Sizes in bytes.
const (
	SeedSize        = 32  // an Ed25519 seed: who we are
	KeySize         = 32  // a topic key, and an X25519 key
	PublicKeySize   = 32  // an Ed25519 public key
	IDSize          = 16  // of a participant
	NonceSize       = 24  // XSalsa20's
	Overhead        = 121 // what Encode adds to a text
	IntroSize       = 129
	ReplySize       = 153
	SignedReplySize = 217 // a reply with our signature behind it

	signatureSize  = 64
	macSize        = 16
	shortestReply  = 121 // what the original's parse_reply takes
	boxAt          = 1 + signatureSize + IDSize
	replyKeyAt     = 1 + IDSize
	replyEncAt     = replyKeyAt + NonceSize + macSize + KeySize
	replySignerAt  = replyEncAt + KeySize
	introSigAt     = 1 + PublicKeySize
	introEncAt     = introSigAt + signatureSize
	defaultGuarded = 65536
)
