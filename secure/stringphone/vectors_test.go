package stringphone

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// testdata/stringphone.json holds known answers of the original Python library.
type vectorError struct{ Class, Text string }

type vectorParty struct {
	Seed         []byte   `json:"seed"`
	TopicKey     []byte   `json:"topic_key"`
	Ephemeral    []byte   `json:"ephemeral"`
	Participants [][]byte `json:"participants"`
	// The original's table of participants can hold anything.
	ByID map[string][]byte `json:"participants_by_id"`
}

type vectors struct {
	Identities []struct {
		Name            string
		Seed, ID        []byte
		PublicKey       []byte `json:"public_key"`
		Ephemeral       []byte
		EphemeralPublic []byte `json:"ephemeral_public"`
	}
	Topics []struct {
		Name     string
		TopicKey []byte `json:"topic_key"`
	}
	Messages []struct {
		Name, Sender, Topic       string
		Nonce, Plaintext, Message []byte
	}
	Intros []struct {
		From    string
		Message []byte
	}
	Replies []struct {
		Name, From, To, Topic string
		Intro, Nonce, Message []byte
	}
	Decode []struct {
		Name            string
		Receiver        vectorParty
		Naive           bool
		IgnoreUntrusted bool `json:"ignore_untrusted"`
		Message         []byte
		Expect          struct {
			Plaintext *[]byte
			Error     *vectorError
		}
	} `json:"decode_cases"`
	ConstructReply []struct {
		Name    string
		Replier vectorParty
		Message []byte
		Expect  struct {
			Message, Nonce []byte
			Error          *vectorError
		}
	} `json:"construct_reply_cases"`
	ParseReply []struct {
		Name    string
		Joiner  vectorParty
		Message []byte
		Tags    []string
		Expect  struct {
			Accepted bool
			TopicKey []byte `json:"topic_key"`
			Error    *vectorError
		}
	} `json:"parse_reply_cases"`
	Topic []struct {
		Name     string
		Seed     []byte
		TopicKey []byte `json:"topic_key"`
		Expect   struct {
			OK    bool
			Error *vectorError
		}
	} `json:"topic_cases"`
	Encode []struct {
		Name      string
		Sender    vectorParty
		Plaintext []byte
		Expect    struct{ Error *vectorError }
	} `json:"encode_cases"`
	Inspect []struct {
		Name, Type string
		Message    []byte
		Fields     map[string]struct {
			Value *[]byte
			Error *vectorError
		}
	} `json:"inspect_cases"`
}

func readVectors(t testing.TB) (v vectors) {
	t.Helper()
	b, err := os.ReadFile("testdata/stringphone.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Decode) < 60 || len(v.Messages) < 10 || len(v.ParseReply) < 15 {
		t.Fatal("the vectors are not whole")
	}
	return v
}

func (v *vectors) identity(t *testing.T, name string) Options {
	for _, i := range v.Identities {
		if i.Name == name {
			return Options{Seed: i.Seed, Ephemeral: i.Ephemeral}
		}
	}
	t.Fatalf("no identity %s", name)
	return Options{}
}

func (v *vectors) key(t *testing.T, name string) []byte {
	for _, k := range v.Topics {
		if k.Name == name {
			return k.TopicKey
		}
	}
	t.Fatalf("no topic %s", name)
	return nil
}

func (p vectorParty) options() Options {
	o := Options{Seed: p.Seed, TopicKey: p.TopicKey, Ephemeral: p.Ephemeral}
	for _, k := range p.Participants {
		o.Participants = append(o.Participants, k)
	}
	for _, k := range p.ByID {
		o.Participants = append(o.Participants, k)
	}
	return o
}

func mustTopic(t testing.TB, o Options) *Topic {
	t.Helper()
	topic, err := NewTopic(o)
	if err != nil {
		t.Fatal(err)
	}
	return topic
}

func TestVectorsOfIdentities(t *testing.T) {
	v := readVectors(t)
	for _, x := range v.Identities {
		topic := mustTopic(t, Options{Seed: x.Seed, Ephemeral: x.Ephemeral})
		if id := topic.ID(); !bytes.Equal(topic.PublicKey(), x.PublicKey) || !bytes.Equal(id[:], x.ID) {
			t.Errorf("%s: another key or ID", x.Name)
		}
		if !bytes.Equal(topic.box.PublicKey(), x.EphemeralPublic) {
			t.Errorf("%s: another encryption key", x.Name)
		}
	}
}

func TestVectorsOfMessages(t *testing.T) {
	v := readVectors(t)
	for _, x := range v.Messages {
		o := v.identity(t, x.Sender)
		o.TopicKey, o.Rand = v.key(t, x.Topic), bytes.NewReader(x.Nonce)
		sender := mustTopic(t, o)
		got, err := sender.Encode(x.Plaintext)
		if err != nil || !bytes.Equal(got, x.Message) {
			t.Errorf("%s: Encode gives %x, %v", x.Name, got, err)
		}
		receiver := mustTopic(t, Options{TopicKey: o.TopicKey, Participants: []ed25519.PublicKey{sender.PublicKey()}})
		plain, err := receiver.Decode(x.Message)
		if err != nil || plain == nil || !bytes.Equal(plain, x.Plaintext) {
			t.Errorf("%s: Decode gives %q, %v", x.Name, plain, err)
		}
	}
}

func TestVectorsOfIntrosAndReplies(t *testing.T) {
	v := readVectors(t)
	for _, x := range v.Intros {
		if got := mustTopic(t, v.identity(t, x.From)).ConstructIntro(); !bytes.Equal(got, x.Message) {
			t.Errorf("intro of %s: %x", x.From, got)
		}
	}
	for _, x := range v.Replies {
		o := v.identity(t, x.From)
		o.TopicKey, o.Rand = v.key(t, x.Topic), bytes.NewReader(x.Nonce)
		got, err := mustTopic(t, o).ConstructUnsignedReply(x.Intro)
		if err != nil || !bytes.Equal(got, x.Message) {
			t.Errorf("%s: unsigned reply %x, %v", x.Name, got, err)
		}
		o.Rand = bytes.NewReader(x.Nonce)
		signed, err := mustTopic(t, o).ConstructReply(x.Intro)
		if err != nil || len(signed) != SignedReplySize || !bytes.Equal(signed[:ReplySize], x.Message) {
			t.Errorf("%s: signed reply %x, %v", x.Name, signed, err)
		}
		joiner := mustTopic(t, v.identity(t, x.To))
		if ok, err := joiner.ParseReply(signed); !ok || err != nil || !bytes.Equal(joiner.TopicKey(), o.TopicKey) {
			t.Errorf("%s: ParseReply says %v, %v", x.Name, ok, err)
		}
	}
}

// stricter says where we refuse otherwise than the original, which looks at the
// length of nothing: a message that is too short for its type is malformed, and
// nothing else is looked at (docs/stringphone.md lists this).
func stricter(message []byte, want error) error {
	least := map[string]int{"s": Overhead, "i": IntroSize, "r": shortestReply}
	if len(message) > 0 && len(message) < least[string(message[:1])] {
		return ErrMalformed
	}
	return want
}

// wantDecode is our error for the original's.
func wantDecode(e *vectorError) error {
	switch {
	case e == nil:
		return nil
	case strings.HasSuffix(e.Class, "UntrustedKeyError"):
		return ErrUntrustedKey
	case strings.HasSuffix(e.Class, "BadSignatureError"):
		return ErrBadSignature
	case strings.HasSuffix(e.Class, "IntroductionError"):
		return ErrIntroduction
	case strings.HasSuffix(e.Class, "IntroductionReplyError"):
		return ErrIntroductionReply
	case strings.HasSuffix(e.Class, "MissingTopicKeyError"), e.Class == "AttributeError":
		return ErrMissingTopicKey
	case strings.HasSuffix(e.Class, "CryptoError"):
		return ErrWrongTopicKey
	}
	return ErrMalformed
}

func TestVectorsOfDecode(t *testing.T) {
	for _, x := range readVectors(t).Decode {
		t.Run(x.Name, func(t *testing.T) {
			topic, err := NewTopic(x.Receiver.options())
			if x.Name == "participant table with a 31-byte key" {
				if !errors.Is(err, ErrKeySize) {
					t.Fatalf("NewTopic: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var modes []DecodeMode
			if x.Naive {
				modes = append(modes, Naive)
			}
			if x.IgnoreUntrusted {
				modes = append(modes, IgnoreUntrusted)
			}
			got, err := topic.Decode(x.Message, modes...)
			want := stricter(x.Message, wantDecode(x.Expect.Error))
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Fatalf("Decode: %v, want %v", err, want)
			}
			if err != nil {
				if got != nil {
					t.Fatal("an error and a text")
				}
				return
			}
			if p := x.Expect.Plaintext; p == nil && got != nil || p != nil && (got == nil || !bytes.Equal(got, *p)) {
				t.Fatalf("Decode: %q, want %v", got, p)
			}
		})
	}
}

func TestVectorsOfConstructReply(t *testing.T) {
	for _, x := range readVectors(t).ConstructReply {
		t.Run(x.Name, func(t *testing.T) {
			o := x.Replier.options()
			if x.Expect.Nonce != nil {
				o.Rand = bytes.NewReader(x.Expect.Nonce)
			}
			got, err := mustTopic(t, o).ConstructReply(x.Message)
			want := stricter(x.Message, wantDecode(x.Expect.Error))
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Fatalf("ConstructReply: %v, want %v", err, want)
			}
			if err == nil && !bytes.Equal(got[:ReplySize], x.Expect.Message) {
				t.Errorf("ConstructReply: %x", got)
			}
		})
	}
}

func TestVectorsOfParseReply(t *testing.T) {
	for _, x := range readVectors(t).ParseReply {
		t.Run(x.Name, func(t *testing.T) {
			o := x.Joiner.options()
			o.AcceptUnsigned = true
			topic := mustTopic(t, o)
			ok, err := topic.ParseReply(x.Message)
			want := stricter(x.Message, wantDecode(x.Expect.Error))
			if errors.Is(want, ErrWrongTopicKey) {
				want = ErrWrongReply
			}
			if !errors.Is(err, want) || (err == nil) != (want == nil) || err == nil && ok != x.Expect.Accepted {
				t.Fatalf("ParseReply: %v, %v; want %v, %v", ok, err, x.Expect.Accepted, want)
			}
			if err == nil && !bytes.Equal(topic.TopicKey(), x.Expect.TopicKey) {
				t.Errorf("another topic key")
			}
			if !x.Expect.Accepted {
				return
			}
			// By default nobody's word is taken for a topic key.
			o.AcceptUnsigned = false
			topic = mustTopic(t, o)
			if ok, err := topic.ParseReply(x.Message); ok || !errors.Is(err, ErrUnsignedReply) || topic.TopicKey() != nil {
				t.Errorf("an unsigned reply is taken: %v, %v", ok, err)
			}
		})
	}
}

func TestVectorsOfTopics(t *testing.T) {
	v := readVectors(t)
	for _, x := range v.Topic {
		_, err := NewTopic(Options{Seed: x.Seed, TopicKey: x.TopicKey})
		if x.Expect.OK != (err == nil) || err != nil && !errors.Is(err, ErrKeySize) {
			t.Errorf("%s: %v", x.Name, err)
		}
	}
	for _, x := range v.Encode {
		topic := mustTopic(t, x.Sender.options())
		if _, err := topic.Encode(x.Plaintext); !errors.Is(err, ErrMissingTopicKey) {
			t.Errorf("%s: %v", x.Name, err)
		}
	}
}

func TestVectorsOfInspect(t *testing.T) {
	for _, x := range readVectors(t).Inspect {
		m := Message(x.Message)
		if typ, err := m.Type(); x.Type == "u" && !errors.Is(err, ErrMalformed) || x.Type != "u" && (err != nil || string(typ.byte()) != x.Type) {
			t.Errorf("%s: type %v, %v", x.Name, typ, err)
		}
		for name, read := range map[string]func() ([]byte, error){
			"sender_id": m.SenderID, "sender_key": m.SenderKey, "recipient_id": m.RecipientID, "ciphertext": m.Ciphertext,
			"signed_payload": m.SignedPayload, "encryption_key": m.EncryptionKey,
			"signed_encryption_key": m.SignedEncryptionKey, "encrypted_topic_key": m.EncryptedTopicKey,
		} {
			want, ok := x.Fields[name]
			if !ok {
				t.Fatalf("%s: no %s", x.Name, name)
			}
			got, err := read()
			if (want.Error != nil) != errors.Is(err, ErrWrongProperty) {
				t.Errorf("%s: %s: %v", x.Name, name, err)
			}
			if want.Value != nil && !bytes.Equal(got, *want.Value) {
				t.Errorf("%s: %s is %s", x.Name, name, base64.StdEncoding.EncodeToString(got))
			}
		}
	}
}

func (t Type) byte() []byte { return []byte{byte(t)} }
