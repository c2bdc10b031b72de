// Package paddevice is what a pad device and its clients say to each other. The device
// keeps one-time pads and packages and unpackages with them; pads never leave it
// (seeds/one-time-chat §6.3). There are two ways to talk to it:
//
//   - the original's RPC ([PathRPC]): plain HTTP on a loopback address or a cable,
//     without ids: a reply that is lost is lost, together with its pad;
//   - the paired channel ([PathPackage] and the others): TLS 1.3 in which both sides
//     know each other's key from a pairing. A package has an id, and the same id gives
//     the same bytes until the client says done.
//
// The device is paddevice/server, its clients are in paddevice/client.
package paddevice
