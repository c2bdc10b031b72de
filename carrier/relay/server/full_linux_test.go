package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"parley/carrier/relay"
	"parley/internal/groupdb"
)

// On a file system that is full, each call that writes answers 507, or has done it; what
// was answered is there.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("parley-test", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("no tmpfs (root only): %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	w := newWorld(t, Options{Dir: dir, Trouble: func(what string, err error) {
		if !errors.Is(err, groupdb.ErrDiskFull) {
			t.Errorf("the operator is told: %s: %v", what, err)
		}
	}})
	w.claim("bob", tokenA, "")
	contents := relay.Encode([]byte(strings.Repeat("x", 12_000)))
	there := map[int64]bool{}
	refusals := map[string]int{}
	note := func(call string, code int, b []byte) bool {
		if code != 200 {
			refused(t, call, 507, code, b)
			refusals[call]++
		}
		return code == 200
	}
	for i := 0; refusals["/send"] < 10 || refusals["/v2/send"] < 10; i++ {
		code, b := w.form("/send", message("alice", "bob", contents))
		if note("/send", code, b) {
			var s relay.Sent
			json.Unmarshal(b, &s)
			there[s.Ref] = true
		}
		code, b = w.object("/v2/send", "", relay.SendRequest{Recipient: "bob", Sender: "alice", Contents: contents, ID: relay.ID{byte(i), byte(i >> 8), 1}})
		if note("/v2/send", code, b) {
			var s relay.SendReply
			json.Unmarshal(b, &s)
			there[s.Ref] = true
		}
		code, b = w.object("/v2/claim", "", claimOf(fmt.Sprint("user", i), tokenA, ""))
		note("/v2/claim", code, b)
	}
	for ref := range int64(10) {
		code, b := w.object("/v2/done", tokenA, relay.DoneRequest{Recipient: "bob", Refs: []int64{ref}})
		if note("/v2/done", code, b) {
			delete(there, ref)
		}
	}
	if refusals["/v2/claim"] == 0 || refusals["/v2/done"] == 0 {
		t.Errorf("the disk was not full: %v", refusals)
	}
	for start := int64(0); ; {
		m := w.messages(fmt.Sprintf("recipient_uid=bob&start_ref=%d", start), tokenA)
		for _, x := range m.Messages {
			if !there[x.Ref] || x.Contents != contents {
				t.Errorf("message %d was not answered, or is another", x.Ref)
			}
			delete(there, x.Ref)
			start = x.Ref + 1
		}
		if m.Complete {
			break
		}
	}
	if len(there) > 0 {
		t.Errorf("%d messages that were answered are lost", len(there))
	}
}
