package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"parley/internal/rsakey"
	"parley/keydir"
)

// clients is how many ask at the same time in the benchmarks, users how many names
// there are.
const (
	clients = 32
	users   = 1000
)

// crowded makes a directory with users; each is activated as a link does it.
func crowded(b testing.TB, o Options) *world {
	b.Helper()
	w := newWorld(b, o)
	k := pairOf("alice").keys()
	err := w.d.store.write(func(c *conn) error {
		for i := range users {
			r := keydir.Registration{Username: fmt.Sprint("user", i), Email: fmt.Sprintf("u%d@b", i)}
			if err := c.register(&r, k, w.d.mailbox(r.Email), 1, w.clock.now()); err != nil {
				return err
			}
			a, err := c.byName(r.Username)
			if err != nil {
				return err
			}
			token, hash := newToken()
			if err := c.addLink(a.id, hash, activationLink, w.clock.now().Add(time.Hour)); err != nil {
				return err
			}
			if _, err := c.follow(r.Username, token, w.clock.now()); err != nil {
				return err
			}
		}
		return c.Exec("DELETE FROM outbox")
	})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// listen serves a handler on a loopback address until the benchmark ends.
func listen(b *testing.B, h http.Handler) (base string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	b.Cleanup(func() { s.Close(); <-done })
	return "http://" + l.Addr().String()
}

// load sends b.N requests from all clients and reports how many a second were
// answered, and how long half and 99 % of them took at most.
func load(b *testing.B, code int, request func(i int) *http.Request) {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for range clients {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				begin := time.Now()
				answer, err := transport.RoundTrip(request(i))
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != code {
					b.Error(answer.Status, err)
				}
				answer.Body.Close()
				took[i] = time.Since(begin)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "answers/s")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(0, "ns/op")
}

func get(base, path string) *http.Request {
	r, err := http.NewRequest("GET", base+path, nil)
	if err != nil {
		panic(err)
	}
	return r
}

// BenchmarkLookups: the directory with and without its kept answers, beside bare
// handlers that sign an answer of the same bytes each time, or send one signed before.
func BenchmarkLookups(b *testing.B) {
	lookup := func(base string) func(i int) *http.Request {
		return func(i int) *http.Request { return get(base, fmt.Sprint("/users/user", i*7919%users)) }
	}
	b.Run("directory", func(b *testing.B) {
		w := crowded(b, Options{})
		base, _ := w.serve()
		for i := range users {
			w.ask("GET", fmt.Sprint("/users/user", i), "")
		}
		load(b, 200, lookup(base))
	})
	b.Run("directory-keeping-nothing", func(b *testing.B) {
		limits := plenty
		limits.Answers = 1
		w := crowded(b, Options{Limits: limits})
		base, _ := w.serve()
		load(b, 200, lookup(base))
	})
	w := crowded(b, Options{})
	body := w.ask("GET", "/users/user7", "").Body.Bytes()
	var parts struct {
		Response json.RawMessage `json:"response"`
	}
	if err := json.Unmarshal(body, &parts); err != nil {
		b.Fatal(err)
	}
	b.Run("bare-signing-each", func(b *testing.B) {
		load(b, 200, lookup(listen(b, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			sig, err := rsakey.Sign(w.d.key, parts.Response)
			if err != nil {
				panic(err)
			}
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(rw, `{"response":%s,"signature":"%s"}`, parts.Response, rsakey.EncodeBase64(sig))
		}))))
	})
	b.Run("bare-signed-before", func(b *testing.B) {
		load(b, 200, lookup(listen(b, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			rw.Write(body)
		}))))
	})
}

// BenchmarkRegistrations: the directory, without and with the mails it writes
// meanwhile, beside a bare handler that verifies the same and commits one row to a
// database with the same settings.
func BenchmarkRegistrations(b *testing.B) {
	alice := pairOf("alice")
	for _, proven := range []bool{false, true} {
		with := map[bool]string{false: "", true: "-proven"}[proven]
		run := func(name string, start func(b *testing.B, w *world) string) {
			b.Run(name+with, func(b *testing.B) {
				w := newWorld(b, Options{Trouble: func(string, error) {}})
				bodies := make([]string, b.N)
				for i := range bodies {
					name := fmt.Sprint("user", i)
					var p *keydir.Proof
					if proven {
						var err error
						if p, err = keydir.Prove(w.d.PublicKey(), name, fmt.Sprintf("u%d@b", i), alice.keys(), alice.message, alice.sign, w.clock.now()); err != nil {
							b.Fatal(err)
						}
					}
					bodies[i] = registration(name, fmt.Sprintf("u%d@b", i), alice.keys(), p)
				}
				base := start(b, w)
				load(b, 201, func(i int) *http.Request {
					r, err := http.NewRequest("POST", base+"/users", strings.NewReader(bodies[i]))
					if err != nil {
						panic(err)
					}
					return r
				})
			})
		}
		run("directory", func(b *testing.B, w *world) string { return listen(b, w.d.http.Handler) })
		if !proven {
			run("directory-and-mail", func(b *testing.B, w *world) string { base, _ := w.serve(); return base })
		}
		run("bare", func(b *testing.B, w *world) string { return listen(b, bare(b, w)) })
	}
}

// bare verifies registrations and commits each as one row, one after another.
func bare(b *testing.B, w *world) http.Handler {
	c, err := sqlite3.Open("file:" + filepath.ToSlash(filepath.Join(b.TempDir(), "bare.db")))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if err := c.Exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE account (name TEXT NOT NULL UNIQUE, message BLOB, sign BLOB, email TEXT) STRICT"); err != nil {
		b.Fatal(err)
	}
	insert, _, err := c.Prepare("INSERT INTO account VALUES (?, ?, ?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	var mu sync.Mutex
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		reg, k, err := keydir.ParseRegistration(text)
		if err == nil && reg.Proof != nil {
			err = reg.Proof.Verify(w.d.PublicKey(), reg.Username, reg.Email, k, w.clock.now())
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		insert.BindText(1, reg.Username)
		insert.BindBlob(2, rsakey.DER(k.Message))
		insert.BindBlob(3, rsakey.DER(k.Sign))
		insert.BindText(4, reg.Email)
		insert.Step()
		err = insert.Reset()
		mu.Unlock()
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		rw.WriteHeader(http.StatusCreated)
		rw.Write(text)
	})
}

// 100,000 look-ups of 1,000 users leave the heap as it was.
func TestMemoryStaysFlat(t *testing.T) {
	w := crowded(t, Options{})
	lookups := func(n int) {
		var all sync.WaitGroup
		for part := range 4 {
			all.Go(func() {
				for i := part; i < n; i += 4 {
					r := httptest.NewRequest("GET", fmt.Sprint("/users/user", i%users), nil)
					rec := httptest.NewRecorder()
					rec.Body = new(bytes.Buffer)
					w.d.http.Handler.ServeHTTP(rec, r)
					if rec.Code != 200 {
						t.Error(rec.Code)
						return
					}
				}
			})
		}
		all.Wait()
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	lookups(users) // each answer is signed and kept
	before := heap()
	lookups(n)
	after := heap()
	t.Logf("the heap: %d KiB before %d look-ups, %d KiB after", before>>10, n, after>>10)
	if after > before+4<<20 {
		t.Errorf("the heap grows from %d to %d bytes", before, after)
	}
}
