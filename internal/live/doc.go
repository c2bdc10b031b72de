// Package live takes part in a String phone topic over a channel that everybody in
// it can hear: it introduces us until somebody answers, lets others in when a
// person or a rule says so, shows what members say, and sees to it that what was
// sealed goes out. The channel is MQTT in the program and anything else in tests.
//
// All state is in one [bucketfile.File] that several processes may use at once, so
// that one can publish while another listens.
//
// # The flow of a payload
//
//	take     decode (raw or hex), Member.Open, show, commit: one transaction; only
//	         then the channel may acknowledge. A crash in between shows a message
//	         twice, and never loses one
//	ask      who asks for the topic key, or offers it, waits in the state until
//	         somebody decides; nothing else waits for that
//	outbox   what is to be published was committed before, and is removed when the
//	         channel has it
package live
