package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ran is how one run of the program ended.
type ran struct {
	code        int
	out, errors string
}

// parleyCommand is a run of the program. The race detector would wait a second at each
// end of it.
func parleyCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("parley", args...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// runParley runs the program with standard input, in a folder of its own.
func runParley(t testing.TB, dir string, in []byte, args ...string) ran {
	t.Helper()
	cmd := parleyCommand(args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, bytes.NewReader(in), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// topicVectors are the known answers of secure/stringphone, as far as the command
// can ask for them.
type topicVectors struct {
	Identities []struct {
		Name      string
		Seed, ID  []byte
		PublicKey []byte `json:"public_key"`
		Ephemeral []byte
	}
	Topics []struct {
		Name     string
		TopicKey []byte `json:"topic_key"`
	}
	Messages []struct {
		Name, Sender, Topic string
		Plaintext, Message  []byte
	}
	Intros []struct {
		From    string
		Message []byte
	}
	Decode []struct {
		Name            string
		Receiver        vectorKeys
		Naive           bool
		IgnoreUntrusted bool `json:"ignore_untrusted"`
		Message         []byte
		Expect          vectorAnswer
	} `json:"decode_cases"`
	ConstructReply []struct {
		Name    string
		Replier vectorKeys
		Message []byte
		Expect  vectorAnswer
	} `json:"construct_reply_cases"`
	ParseReply []struct {
		Name    string
		Joiner  vectorKeys
		Message []byte
		Expect  vectorAnswer
	} `json:"parse_reply_cases"`
	Topic []struct {
		Name     string
		Seed     []byte
		TopicKey []byte `json:"topic_key"`
		Expect   struct{ OK bool }
	} `json:"topic_cases"`
	Inspect []struct {
		Name, Type string
		Message    []byte
	} `json:"inspect_cases"`
}

type vectorKeys struct {
	Seed, Ephemeral []byte
	TopicKey        []byte            `json:"topic_key"`
	Participants    [][]byte          `json:"participants"`
	ByID            map[string][]byte `json:"participants_by_id"`
}

type vectorAnswer struct {
	Plaintext *[]byte
	Message   []byte
	Accepted  bool
	TopicKey  []byte `json:"topic_key"`
	Error     *struct{ Class string }
}

func readTopicVectors(t *testing.T) (v topicVectors) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "secure", "stringphone", "testdata", "stringphone.json"))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// writeKey makes a key file.
func writeKey(t testing.TB, dir, name string, key []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(keyLine(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// encoded gives a packet in one of the three forms that the program reads.
func encoded(i int, packet []byte) (flag string, in []byte) {
	switch i % 3 {
	case 0:
		return "--hex", []byte(packetFormat{Hex: true}.text(packet) + "\n")
	case 1:
		return "--base64", []byte(packetFormat{Base64: true}.text(packet) + "\r\n")
	}
	return "", packet
}

func with(args []string, flag string) []string {
	if flag != "" {
		args = append(args, flag)
	}
	return args
}

// wantCode is the exit code of open for the original's answer: whatever is too
// short for its type is malformed for us, before anything else is looked at.
func wantCode(message []byte, e vectorAnswer) int {
	least := map[byte]int{'s': 121, 'i': 129, 'r': 121}
	if len(message) > 0 && len(message) < least[message[0]] {
		return exitMalformed
	}
	if e.Error == nil {
		return exitOK
	}
	class := e.Error.Class
	for suffix, code := range map[string]int{
		"UntrustedKeyError": exitUntrusted, "BadSignatureError": exitBadSignature, ".IntroductionError": exitIntroduction,
		"IntroductionReplyError": exitIntroReply, "AttributeError": exitNoTopicKey, "CryptoError": exitWrongTopicKey,
	} {
		if strings.HasSuffix(class, suffix) {
			return code
		}
	}
	return exitMalformed
}

func TestTopicOpenVectors(t *testing.T) {
	for i, x := range readTopicVectors(t).Decode {
		dir := t.TempDir()
		writeKey(t, dir, "me", x.Receiver.Seed)
		args := []string{"topic", "open", "--identity", "me"}
		if x.Receiver.TopicKey != nil {
			writeKey(t, dir, "topic", x.Receiver.TopicKey)
			args = append(args, "--topic", "topic")
		}
		want := wantCode(x.Message, x.Expect)
		for _, k := range x.Receiver.Participants {
			args = append(args, "--trust", keyLine(k))
		}
		for _, k := range x.Receiver.ByID {
			args, want = append(args, "--trust", keyLine(k)), exitUsage // no key of 31 bytes
		}
		if x.Naive {
			args = append(args, "--naive")
		}
		if x.IgnoreUntrusted {
			args = append(args, "--ignore-untrusted")
		}
		flag, in := encoded(i, x.Message)
		r := runParley(t, dir, in, with(args, flag)...)
		text := ""
		if want == exitOK && x.Expect.Plaintext == nil {
			want = exitNothing
		} else if want == exitOK {
			text = string(*x.Expect.Plaintext)
		}
		if r.code != want || r.out != text {
			t.Errorf("%s: exit code %d, want %d; %q, want %q; %s", x.Name, r.code, want, r.out, text, r.errors)
		}
		if x.Naive != strings.Contains(r.errors, "!!! --naive") {
			t.Errorf("%s: naive and %q", x.Name, r.errors)
		}
	}
}

func TestTopicMessageVectors(t *testing.T) {
	v := readTopicVectors(t)
	dir := t.TempDir()
	trust := map[string]string{}
	for _, x := range v.Identities {
		writeKey(t, dir, "id-"+x.Name, x.Seed)
		trust[x.Name] = keyLine(x.PublicKey)
		r := runParley(t, dir, nil, "topic", "identity", "id-"+x.Name, "--json")
		var got identityResult
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.PublicKey != trust[x.Name] || got.ID != (packetFormat{}).text(x.ID) || got.Created || len(got.Fingerprint) != 13 {
			t.Errorf("identity %s: %+v, %s", x.Name, r, err)
		}
	}
	for _, x := range v.Topics {
		writeKey(t, dir, "topic-"+x.Name, x.TopicKey)
	}
	for i, x := range v.Messages {
		me := "id-bob"
		if x.Sender == "bob" {
			me = "id-alice"
		}
		args := []string{"topic", "open", "--identity", me, "--topic", "topic-" + x.Topic, "--trust", trust[x.Sender]}
		flag, in := encoded(i, x.Message)
		if r := runParley(t, dir, in, with(args, flag)...); r.code != 0 || r.out != string(x.Plaintext) || r.errors != "" {
			t.Errorf("%s: %+v", x.Name, r)
		}
		// What we seal of the same text, the same command opens.
		seal := with([]string{"topic", "seal", "--identity", "id-" + x.Sender, "--topic", "topic-" + x.Topic}, flag)
		sealed := runParley(t, dir, x.Plaintext, seal...)
		if r := runParley(t, dir, []byte(sealed.out), with(args, flag)...); sealed.code != 0 || r.code != 0 || r.out != string(x.Plaintext) {
			t.Errorf("%s sealed by us: %+v", x.Name, r)
		}
	}
}

func TestTopicIntroVectors(t *testing.T) {
	v := readTopicVectors(t)
	dir := t.TempDir()
	for _, x := range v.Identities {
		writeKey(t, dir, x.Name, x.Seed)
		writeKey(t, dir, x.Name+".pending", x.Ephemeral)
	}
	for _, x := range v.Intros {
		if r := runParley(t, dir, nil, "topic", "intro", "--identity", x.From); r.code != 0 || r.out != string(x.Message) {
			t.Errorf("intro of %s: %+v", x.From, r)
		}
	}
	for i, x := range v.ConstructReply {
		dir := t.TempDir()
		writeKey(t, dir, "me", x.Replier.Seed)
		args := []string{"topic", "reply", "--identity", "me", "--topic", "topic"}
		want, size := wantCode(x.Message, x.Expect), 217
		switch {
		case x.Replier.TopicKey == nil:
			want = exitUsage
		default:
			writeKey(t, dir, "topic", x.Replier.TopicKey)
		}
		if i%2 == 1 {
			args, size = append(args, "--unsigned"), 153
		}
		flag, in := encoded(i/2*3+2, x.Message)
		r := runParley(t, dir, in, with(args, flag)...)
		if want != exitOK {
			size = 0
		}
		if r.code != want || len(r.out) != size {
			t.Errorf("%s: exit code %d, want %d; %d bytes; %s", x.Name, r.code, want, len(r.out), r.errors)
		}
		if size > 0 && r.out[:17] != string(x.Expect.Message[:17]) {
			t.Errorf("%s: for somebody else", x.Name)
		}
	}
}

func TestTopicParseReplyVectors(t *testing.T) {
	for i, x := range readTopicVectors(t).ParseReply {
		dir := t.TempDir()
		writeKey(t, dir, "me", x.Joiner.Seed)
		writeKey(t, dir, "pending", x.Joiner.Ephemeral)
		args := []string{"topic", "accept-reply", "--identity", "me", "--pending", "pending", "--topic", "new"}
		if x.Joiner.TopicKey != nil {
			// The command is asked for a key where there is one already.
			writeKey(t, dir, "new", x.Joiner.TopicKey)
			if r := runParley(t, dir, x.Message, args...); r.code != exitUsage || r.out != "" {
				t.Errorf("%s: %+v", x.Name, r)
			}
			continue
		}
		flag, in := encoded(i, x.Message)
		args = with(args, flag)
		want := wantCode(x.Message, x.Expect)
		if want == exitOK && !x.Expect.Accepted {
			want = exitNothing
		}
		if want == exitOK { // refused by default
			if r := runParley(t, dir, in, args...); r.code != exitUnsigned || r.out != "" {
				t.Errorf("%s unsigned: %+v", x.Name, r)
			}
			if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
				t.Fatalf("%s: a file of a refused reply", x.Name)
			}
		}
		r := runParley(t, dir, in, append(args, "--accept-unsigned")...)
		if r.code != want || (r.out != "") != (want == exitOK) {
			t.Errorf("%s: want %d, %+v", x.Name, want, r)
		}
		b, _ := os.ReadFile(filepath.Join(dir, "new"))
		if want == exitOK && string(b) != keyLine(x.Expect.TopicKey)+"\n" || want != exitOK && b != nil {
			t.Errorf("%s: the topic key is %q", x.Name, b)
		}
		if _, err := os.Stat(filepath.Join(dir, "pending")); (err != nil) != (want == exitOK) {
			t.Errorf("%s: pending: %v", x.Name, err)
		}
	}
}

func TestTopicKeyVectors(t *testing.T) {
	v := readTopicVectors(t)
	for _, x := range v.Topic {
		dir := t.TempDir()
		writeKey(t, dir, "me", x.Seed)
		args := []string{"topic", "open", "--identity", "me"}
		if x.TopicKey != nil {
			writeKey(t, dir, "topic", x.TopicKey)
			args = append(args, "--topic", "topic")
		}
		want := exitMalformed // of the empty input
		if !x.Expect.OK || x.Seed == nil {
			want = exitUsage
		}
		if r := runParley(t, dir, nil, args...); r.code != want || r.out != "" {
			t.Errorf("%s: want %d, %+v", x.Name, want, r)
		}
	}
	for _, x := range v.Inspect {
		want := wantCode(x.Message, vectorAnswer{})
		if x.Type == "u" {
			want = exitMalformed
		}
		if r := runParley(t, ".", x.Message, "topic", "inspect"); r.code != want || (r.out == "") != (want != 0) {
			t.Errorf("%s: want %d, %+v", x.Name, want, r)
		}
	}
}

func TestTopicCodesAreDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range openCodes {
		meaning := strings.ReplaceAll(c.meaning, "--guard", "`--guard`")
		if row := fmt.Sprintf("| %d | %s |", c.code, meaning); !strings.Contains(string(b), row) {
			t.Errorf("docs/cli.md lacks %q", row)
		}
	}
}
