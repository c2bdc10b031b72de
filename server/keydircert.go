package server

import (
	"crypto/tls"
	"net"
	"os"
	"sync"
	"time"
)

// A fileCertificate is a certificate that its owner replaces while we run, as those
// of Let's Encrypt are every few weeks.
type fileCertificate struct {
	cert, key string
	of        string // whose it is
	trouble   *trouble

	mu      sync.Mutex
	pair    *tls.Certificate
	looked  time.Time
	changed time.Time // of the certificate's file
}

// certificateEvery is how often the file is looked at, at most.
const certificateEvery = time.Minute

func newFileCertificate(cert, key string, trouble *trouble) (*fileCertificate, error) {
	f := &fileCertificate{cert: cert, key: key, of: "the key directory", trouble: trouble, looked: time.Now()}
	return f, f.load()
}

func (f *fileCertificate) load() error {
	st, err := os.Stat(f.cert)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.pair, f.changed = &pair, st.ModTime()
	return nil
}

func (f *fileCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= certificateEvery {
		f.looked = now
		if st, err := os.Stat(f.cert); err != nil || !st.ModTime().Equal(f.changed) {
			if err := f.load(); err != nil { // the old one stays
				f.trouble.report("the certificate of "+f.of, err)
			}
		}
	}
	return f.pair, nil
}

func (f *fileCertificate) listener(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{GetCertificate: f.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
}
