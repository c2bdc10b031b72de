package main

import (
	"parley/secure/stringphone"
)

type topicNewCmd struct {
	File  string `arg:"" optional:"" type:"path" help:"Where to write the key; it must not be there yet. Without it the key goes to standard output."`
	Topic string `placeholder:"FILE" type:"path" help:"The same as FILE."`
}

func (c *topicNewCmd) Run(a *app) error {
	path, err := oneFile(c.File, c.Topic, "--topic")
	if err != nil {
		return err
	}
	key := stringphone.GenerateTopicKey()
	if path != "" {
		if err := createKey("topic key", path, key); err != nil {
			return err
		}
		if a.json {
			return a.emit(map[string]string{"topic": path})
		}
		a.note("Made the topic key %s. Whoever has it reads the topic: copy it only over a channel that you trust.", path)
		return nil
	}
	if a.outTTY() {
		return usage("a topic key does not belong on a screen: name a file")
	}
	if a.json {
		return a.emit(map[string]string{"topic_key": keyLine(key)})
	}
	return a.print(keyLine(key) + "\n")
}

// oneFile returns the file that was named as an argument or by a flag.
func oneFile(arg, flag, name string) (string, error) {
	switch {
	case arg == "":
		return flag, nil
	case flag == "" || flag == arg:
		return arg, nil
	}
	return "", usage("%s and %s %s name two files", arg, name, flag)
}

type topicIdentityCmd struct {
	File     string `arg:"" optional:"" type:"path" help:"The file with the seed; it is made if it is not there."`
	Identity string `placeholder:"FILE" type:"path" help:"The same as FILE."`
}

type identityResult struct {
	keyOwner
	Created bool `json:"created"`
}

func (c *topicIdentityCmd) Run(a *app) error {
	path, err := oneFile(c.File, c.Identity, "--identity")
	if err != nil {
		return err
	}
	if path == "" {
		return usage("name the file of the identity: parley topic identity FILE")
	}
	seed, made, err := loadOrMake(a, "identity", path, stringphone.GenerateSeed)
	if err != nil {
		return err
	}
	signer, err := stringphone.NewSigner(seed)
	if err != nil {
		return err
	}
	p, err := whoIs(signer.PublicKey())
	if err != nil {
		return err
	}
	if made {
		a.note("Made the identity %s. It signs as you: keep it secret, and keep a copy.", path)
	}
	return a.result(identityResult{p, made}, p.text)
}
