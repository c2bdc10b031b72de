// Package ratchet is Parley's default protection, STP 67 version 1: an X3DH-style
// agreement from an invitation, then a Double Ratchet with encrypted headers in
// which ML-KEM-768 steps along with X25519. docs/ratchet.md is the complete
// format, with what it promises and what it does not.
//
// The package is usable alone. All memory is in the Conversation's State, which
// must commit together with the packet a call returned or the message it opened:
//
//	rt := ratchet.New()
//	offer, err := rt.Introduce(ctx, alice)         // into the invitation
//	_, err = rt.Open(ctx, bob, offer)              // *parley.Introduction, an Offer
//	answer, err := rt.Admit(ctx, bob, introduction)
//	_, err = rt.Open(ctx, alice, answer)           // *parley.Introduction, an Answer
//	err = rt.Accept(ctx, alice, introduction)
//	packet, err := rt.Seal(ctx, alice, message)    // Bob can seal once he opened this
//
// The files follow the flow: agree.go and handshake.go, then seal.go and open.go
// over the steps of kdf.go; state.go and chains.go are the memory.
package ratchet
