package server

import (
	"fmt"
	"io"
	"testing"
)

// BenchmarkPublish measures messages that are published and acknowledged by the
// broker, with a window of 50, to some subscribers; persistent ones cost the disk.
func BenchmarkPublish(b *testing.B) {
	for _, x := range []struct {
		qos     byte
		fan     int
		persist bool
	}{{0, 1, false}, {1, 1, false}, {1, 1, true}, {2, 1, true}, {1, 10, true}, {1, 100, false}} {
		b.Run(fmt.Sprintf("qos%d/fan%d/persistent=%v", x.qos, x.fan, x.persist), func(b *testing.B) {
			br := start(b, Options{})
			for i := range x.fan {
				w := who{id: fmt.Sprint("s", i), clean: !x.persist}
				if x.persist {
					w.expiry = 100
				}
				c := br.in(v5, w)
				c.sub("load", x.qos)
				go c.answerAll()
			}
			p := br.in(v5, who{id: "p", clean: true})
			payload := string(make([]byte, 100))
			b.SetBytes(100)
			b.ReportAllocs()
			b.ResetTimer()
			const window = 50
			for sent, done := 0, 0; done < b.N; {
				if sent < b.N && sent-done < window {
					p.tryPub(msg{topic: "load", payload: payload, qos: x.qos, id: uint16(sent%window + 1)})
					if sent++; x.qos == 0 {
						done++
					}
					continue
				}
				switch r, ok := p.tryRead(); {
				case !ok:
					b.Fatal("the connection ends")
				case r.kind == pPubrec:
					p.answer(pPubrel, r.id)
				case r.code >= 0x80:
					b.Fatalf("%+v", r)
				default:
					done++
				}
			}
			if x.qos > 0 {
				br.until("end", func(s Stats) bool { return s.Queued == 0 })
			}
		})
	}
}

// answerAll answers whatever comes until the connection ends.
func (c *client) answerAll() {
	for {
		first, n, err := readHeader(c.r)
		if err != nil {
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return
		}
		var out []byte
		switch kind := first >> 4; kind {
		case pPublish:
			p, err := parsePublish(first, b, c.v)
			if err != nil {
				return
			}
			if p.qos > 0 {
				out = appendAnswer(nil, pPuback+p.qos-1, c.v, p.id, success, "")
			}
		case pPubrel:
			out = []byte{pPubcomp << 4, 2, b[0], b[1]}
		}
		if len(out) > 0 {
			if _, err := c.nc.Write(out); err != nil {
				return
			}
		}
	}
}
