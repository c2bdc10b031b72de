// Package client asks a public-key directory (seeds/nes-messenger.txt, "Public keys
// provider") for people's keys and believes it no more than it must: each answer is
// verified against the directory's key and the name that was asked for, keys are
// pinned at first use ([Pins]), and the directory's log is followed so that it
// cannot show different people different histories ([Client.Follow], [Client.Audit]).
//
// It speaks to directories of Parley and of the original's kind, which sign no names
// and keep no log.
package client
