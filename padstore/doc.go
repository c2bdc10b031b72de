// Package padstore keeps one-time pads on disk, so that no byte of one is ever used for
// two messages: not by processes side by side, not after a crash between any two steps,
// not on a full disk, and as far as it can be noticed not from an old copy.
//
// A pad is a file of version 2 (OWNER.PEER.pad) or the original's two files of version 1
// (UID.RID.random.store and .metadata, seeds/one-time-chat §6.1). Beside it stands a
// journal, which has every use on disk before anything that was sealed with it leaves,
// and elsewhere a mark, which stays when the pad's folder is put back from a backup.
// docs/pads-store.md describes the files and the order of the steps.
package padstore
