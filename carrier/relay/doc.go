// Package relay is the mailboxes of One Time Chat's relay (seeds/one-time-chat §6.5):
// addresses, the names in them, and the requests and answers that its client and its
// server share. The relay keeps what it is given for a recipient until it is old, and
// numbers it; it learns who sends to whom, how much and when, and nothing more.
//
// The paths under /v2/ are ours: mailboxes that belong to somebody, sending that may be
// repeated, and deleting. docs/otc-relay.md describes both.
package relay
