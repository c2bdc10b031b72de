// Package envelope frames packets for the carrier: PhoneX's
// MessageProtocolEnvelope (seeds/phonex-protocol §2.2), the inner header for
// secure transports that have none of their own, and splitting and joining of
// packets that are longer than a carrier's largest. docs/envelope.md has the
// bytes. It is pure: bytes in, bytes out.
package envelope
