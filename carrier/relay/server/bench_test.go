package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	"parley/carrier/relay"
)

// BenchmarkSend stores messages of 100 bytes, each on disk before it is answered, from
// many senders at the same time.
func BenchmarkSend(b *testing.B) {
	w := newWorld(b, Options{Limits: Limits{RequestsPerSecond: 1e9, RequestBurst: 1e9, MailboxMessages: 1e9, MailboxBytes: 1 << 40, Bytes: 1 << 40}})
	w.send("a", "bob", "")
	var n atomic.Int64
	contents := relay.Encode(make([]byte, 100))
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			i := n.Add(1)
			q := relay.SendRequest{Recipient: "bob", Sender: "a", Contents: contents, ID: relay.ID{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24), 1}}
			j, _ := json.Marshal(q)
			resp, err := w.http.Post(w.url+"/v2/send", jsonBody, bytes.NewReader(j))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 {
				b.Error(resp.Status)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkAsk reads 20 messages from the end of a mailbox of a given number.
func BenchmarkAsk(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b, Options{Limits: Limits{RequestsPerSecond: 1e9, RequestBurst: 1e9, MailboxMessages: 1e9, MailboxBytes: 1 << 40}})
			err := w.s.store.write(func(c *conn) error {
				for range n {
					if _, _, err := w.s.put(c, relay.Message{Recipient: "bob", Sender: "a", Contents: "AAAA"}, "", nil); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if m := w.messages(fmt.Sprintf("recipient_uid=bob&start_ref=%d", n-19), ""); m.Count != 20 {
					b.Fatal(m.Count)
				}
			}
		})
	}
}
