package smp

import (
	"crypto/rand"
	"crypto/rsa"
	"net"
	"testing"
	"time"
)

func TestHandshake(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	id, err := NewIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	got := make(chan *Conn, 1)
	go func() {
		c, err := id.Accept(a)
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	cl, err := Connect(b, id.KeyHash())
	if err != nil {
		t.Fatal(err)
	}
	srv := <-got
	sid, _ := MakeID([]byte("0123456789abcdef"))
	cmd := Transmission{ID: sid, Verb: SEND, Body: []byte("a\nb")}
	if err := cmd.Sign(key); err != nil {
		t.Fatal(err)
	}
	go cl.Send(&cmd, &cmd)
	var in Transmission
	for range 2 {
		if err := srv.Next(&in); err != nil {
			t.Fatal(err)
		}
		if string(in.Body) != "a\nb" || in.ID != sid || !Verify(&key.PublicKey, in.Signed, in.Signature) {
			t.Fatalf("%+v", in)
		}
	}
	go srv.Send(&Transmission{ID: sid, Verb: MSG, Time: time.Unix(0, 0), Body: make([]byte, MaxBodyBlock)})
	if err := cl.Next(&in); err != nil || len(in.Body) != MaxBodyBlock {
		t.Fatal(err)
	}
}
