// Package frontlimit bounds what one client can make an HTTP server do, whoever it
// says it is: connections at once, in all and of one network, and how often each
// network may ask. A network is an IPv4 address or an IPv6 /64, of which one customer
// has them all; behind a proxy that the operator believes it is what that says.
package frontlimit
