// Package broker is the queues behind SMP: create, subscribe, secure, send,
// deliver, acknowledge, suspend, delete. It knows nothing of wires, so that
// several generations of SMP share it: a front parses, authenticates and calls.
package broker
