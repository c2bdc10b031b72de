// Package bench measures a relay against the bare work it cannot avoid, and
// kills relays and messengers at random moments to see that nothing which was
// acknowledged gets lost. docs/benchmarks.md defines every number it prints.
//
// The relay, the bare floor and the messengers under test run in child
// processes ([Serve]), so that their CPU time and memory are their own and
// SIGKILL is a real one.
package bench
