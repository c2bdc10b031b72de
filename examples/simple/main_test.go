package main

// Example runs the program: it must go on saying this.
func Example() {
	main()
	// Output:
	// naive:  Hi Bob! (from anybody who has the topic key)
	// strict: Hi Bob! (from Alice, once)
	// again:  the message was seen before
}
