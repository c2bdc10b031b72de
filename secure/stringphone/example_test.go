package stringphone_test

import (
	"errors"
	"fmt"
	"log"

	"parley/secure/stringphone"
)

// The manual's first steps (seeds/string-phone 4.1.1): both have the topic key
// already, and trust each other's public key.
func Example() {
	topicKey := stringphone.GenerateTopicKey()
	alice, err := stringphone.NewTopic(stringphone.Options{Seed: stringphone.GenerateSeed(), TopicKey: topicKey})
	if err != nil {
		log.Fatal(err)
	}
	bob, err := stringphone.NewTopic(stringphone.Options{Seed: stringphone.GenerateSeed(), TopicKey: topicKey})
	if err != nil {
		log.Fatal(err)
	}
	message, err := alice.Encode([]byte("Hi Bob!"))
	if err != nil {
		log.Fatal(err)
	}

	_, err = bob.Decode(message)
	fmt.Println(errors.Is(err, stringphone.ErrUntrustedKey))

	bob.AddParticipant(alice.PublicKey())
	text, err := bob.Decode(message)
	fmt.Printf("%s %v\n", text, err)
	// Output:
	// true
	// Hi Bob! <nil>
}

// Discovery (seeds/string-phone 4.1.2): Bob asks for the topic key, a person on
// Alice's side compares fingerprints, and she answers.
func Example_discovery() {
	alice, err := stringphone.NewTopic(stringphone.Options{TopicKey: stringphone.GenerateTopicKey()})
	if err != nil {
		log.Fatal(err)
	}
	bob, err := stringphone.NewTopic(stringphone.Options{})
	if err != nil {
		log.Fatal(err)
	}

	intro := bob.ConstructIntro()
	_, err = alice.Decode(intro)
	fmt.Println(errors.Is(err, stringphone.ErrIntroduction))
	key, err := stringphone.VerifyIntro(intro) // compare its Fingerprint with Bob's
	if err != nil {
		log.Fatal(err)
	}
	alice.AddParticipant(key)
	reply, err := alice.ConstructReply(intro)
	if err != nil {
		log.Fatal(err)
	}

	_, err = bob.Decode(reply)
	fmt.Println(errors.Is(err, stringphone.ErrIntroductionReply))
	ok, err := bob.ParseReply(reply) // refuses what nobody signed
	fmt.Println(ok, err)
	from, err := stringphone.Message(reply).SenderKey() // compare this one, too
	if err != nil {
		log.Fatal(err)
	}
	bob.AddParticipant(from)

	message, err := bob.Encode([]byte("Hey, Alice! Thanks for the key!"))
	if err != nil {
		log.Fatal(err)
	}
	text, err := alice.Decode(message)
	fmt.Printf("%s %v\n", text, err)
	// Output:
	// true
	// true
	// true <nil>
	// Hey, Alice! Thanks for the key! <nil>
}
