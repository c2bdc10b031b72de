package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/carrier/relay"
)

// relayVar makes this program a relay in the folder that it names, for tests that kill it.
const relayVar = "PARLEY_TEST_RELAY"

func asRelay() bool {
	dir := os.Getenv(relayVar)
	if dir == "" {
		return false
	}
	s, err := New(Options{Dir: dir, Limits: Limits{RequestsPerSecond: 1e6, RequestBurst: 1e6}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	s.Serve(l)
	return true
}

// startRelay starts one and returns where it is.
func startRelay(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), relayVar+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd, "http://" + strings.TrimSpace(line)
}

// A relay that is killed again and again while four people send has in the end all that
// it answered for, once and in order. Who got no answer sends again.
func TestKilled(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	const people = 4
	sent := [people]int{} // answered for
	cmd, url := startRelay(t, dir)
	var highest atomic.Int64
	for round := range rounds {
		var answered atomic.Int64
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for p := range people {
			wg.Go(func() {
				for {
					q := relay.SendRequest{
						Recipient: "bob", Sender: fmt.Sprint("p", p), Contents: relay.Encode(fmt.Appendf(nil, "%d", sent[p])),
						ID: relay.ID{1, byte(p), byte(sent[p] >> 8), byte(sent[p])},
					}
					b, _ := json.Marshal(q)
					resp, err := client.Post(url+"/v2/send", jsonBody, bytes.NewReader(b))
					if err != nil {
						return
					}
					var reply relay.SendReply
					err = json.NewDecoder(resp.Body).Decode(&reply)
					resp.Body.Close()
					if err != nil || !reply.Received {
						return
					}
					if old := highest.Load(); reply.Ref > old {
						highest.CompareAndSwap(old, reply.Ref)
					}
					sent[p]++
					answered.Add(1)
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		until(t, func() bool { return answered.Load() > int64(20+7*round) })
		cmd.Process.Kill()
		close(stop)
		wg.Wait()
		cmd.Wait()
		client.CloseIdleConnections()
		cmd, url = startRelay(t, dir)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()

	next := [people]int{}
	last := int64(0)
	for start, complete := int64(0), false; !complete; {
		resp, err := client.Get(fmt.Sprintf("%s/getmessages?recipient_uid=bob&start_ref=%d", url, start))
		if err != nil {
			t.Fatal(err)
		}
		var m relay.Messages
		err = json.NewDecoder(resp.Body).Decode(&m)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		complete = m.Complete
		for _, x := range m.Messages {
			if x.Ref <= last {
				t.Fatalf("number %d after %d", x.Ref, last)
			}
			last, start = x.Ref, x.Ref+1
			var p int
			fmt.Sscanf(x.Sender, "p%d", &p)
			packet, _ := relay.Decode(x.Contents)
			if string(packet) != fmt.Sprint(next[p]) {
				t.Fatalf("p%d: message %s where %d belongs", p, packet, next[p])
			}
			next[p]++
		}
	}
	for p := range people {
		// One more may be there, whose answer was lost.
		if next[p] < sent[p] || next[p] > sent[p]+1 {
			t.Errorf("p%d: %d messages answered for, %d there", p, sent[p], next[p])
		}
	}
	if last < highest.Load() {
		t.Errorf("number %d was answered, the highest there is %d", highest.Load(), last)
	}
}
