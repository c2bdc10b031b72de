// Command simple is the manual's simple example (seeds/string-phone 4.4.1): two
// participants with a pre-shared key, and nobody looks at signatures.
//
// Don't build on it. Whoever has the topic key, which each of your devices has,
// can speak in the name of every other one: a light bulb that was opened with a
// screwdriver commands the door. It costs one line per participant to be safe,
// and the second half shows it.
package main

import (
	"fmt"
	"log"

	"parley/secure/stringphone"
)

func main() {
	key := stringphone.GenerateTopicKey() // both have got it beforehand, over a channel they trust
	alice, err := stringphone.NewTopic(stringphone.Options{TopicKey: key})
	if err != nil {
		log.Fatal(err)
	}
	bob, err := stringphone.NewTopic(stringphone.Options{TopicKey: key})
	if err != nil {
		log.Fatal(err)
	}

	// As in the manual: encrypted for all who have the key, signed for nobody.
	message, err := alice.Encode([]byte("Hi Bob!"))
	if err != nil {
		log.Fatal(err)
	}
	text, err := bob.Decode(message, stringphone.Naive)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("naive:  %s (from anybody who has the topic key)\n", text)

	// As it should be: Bob has Alice's public key, and takes nothing that she has
	// not signed. The guard refuses what is sent a second time.
	bob, err = stringphone.NewTopic(stringphone.Options{TopicKey: key, Guard: stringphone.NewGuard(0)})
	if err != nil {
		log.Fatal(err)
	}
	if err := bob.AddParticipant(alice.PublicKey()); err != nil {
		log.Fatal(err)
	}
	text, err = bob.Decode(message)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("strict: %s (from Alice, once)\n", text)
	_, err = bob.Decode(message)
	fmt.Printf("again:  %v\n", err)
}
