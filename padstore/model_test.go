package padstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"parley"
	"parley/secure/otp"
)

// A model is one end of a pad on a disk that fails, the other end on one that doesn't, and
// everything that must hold.
type model struct {
	t        *testing.T
	v        otp.Version
	disk     *memDisk
	p        *Pad
	bob      *Pad
	rnd      *rand.Rand
	mode     lossMode
	size     int64
	leaked   map[int64][32]byte  // which packet a byte of pad has left with
	answered map[[16]byte][]byte // packets that were returned and not Done
	grants   map[[16]byte]int64  // those of them that are grants
	texts    map[[32]byte]string // messages that were returned and not Done, by packet
	packets  map[[32]byte][]byte // those packets
	finished map[[32]byte][]byte // received packets that are Done
	crashes  int
	where    string
	second   bool // after the kill, power was lost too
	burned   []span
	stop     bool // panic with errPower when power is lost
}

const modelSize = 24000

func newModel(t *testing.T, v otp.Version) *model {
	m := &model{
		t: t, v: v, disk: newMemDisk(), size: modelSize, leaked: map[int64][32]byte{}, answered: map[[16]byte][]byte{}, grants: map[[16]byte]int64{},
		texts: map[[32]byte]string{}, packets: map[[32]byte][]byte{}, finished: map[[32]byte][]byte{},
	}
	pad := randomBytes(5, modelSize)
	names, files := padFiles(t, v, pad, modelSize/2, 0)
	for i := range names {
		m.disk.put(filepath.Join("/alice", names[i]), files[i])
	}
	bob := newMemDisk()
	names, files = padFiles(t, v, pad, modelSize/2, 1)
	for i := range names {
		bob.put(filepath.Join("/bob", names[i]), files[i])
	}
	var err error
	m.bob, err = Open(filepath.Join("/bob", names[0]), Options{Marks: "/marks", disk: bob})
	check(t, err)
	return m
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("v%d, mode %d, failing call %d (%s): %s", m.v, m.mode, m.disk.failAt, m.where, fmt.Sprintf(format, args...))
}

// open opens alice's pad, again after each failure, and then looks whether all that was
// answered still holds.
func (m *model) open() {
	for try := 0; ; try++ {
		name := "alice.bob" + padSuffix
		if m.v == otp.V1 {
			name = otp.MetadataNameV1("alice", "bob")
		}
		p, err := Open(filepath.Join("/alice", name), Options{Marks: "/marks", disk: m.disk, slack: 300})
		if err == nil {
			m.p = p
			break
		}
		if try > 2 || !m.expected(err) {
			m.fatalf("open: %v", err)
		}
		m.restart(err)
	}
}

// expected reports whether an error is the one that was injected.
func (m *model) expected(err error) bool {
	return errors.Is(err, errPower) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO) || m.disk.failed && errors.Is(err, errDisk)
}

// restart is what comes after an error: when power was lost, a new machine.
func (m *model) restart(err error) {
	if errors.Is(err, errPower) {
		if m.stop {
			panic(errPower)
		}
		m.crashes++
		m.disk.reboot(m.mode, m.rnd)
		m.p = nil
	}
}

// do does one thing until it succeeds.
func (m *model) do(what string, f func() error) {
	m.t.Helper()
	for try := 0; ; try++ {
		if m.p == nil {
			m.open()
			if m.p == nil {
				continue
			}
			if err := m.verify(); err != nil {
				if !m.expected(err) || try > 4 {
					m.fatalf("%s: after a restart: %v", what, err)
				}
				m.restart(err)
				continue
			}
		}
		err := f()
		if err == nil {
			if m.mode == kill && m.crashes > 0 && !m.second { // what the new process relied on must be on disk
				m.second, m.p = true, nil
				m.disk.reboot(lost, m.rnd)
			}
			return
		}
		if !m.expected(err) || try > 4 {
			m.fatalf("%s: %v", what, err)
		}
		m.restart(err)
	}
}

// verify asks again for all that was answered.
func (m *model) verify() error {
	for id, want := range m.answered {
		var got []byte
		var err error
		if n := m.grants[id]; n > 0 {
			got, err = m.p.Grant(ctx, id, n)
		} else {
			got, err = m.p.Package(ctx, id, "bob", modelText(id))
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			m.fatalf("the same id gave other bytes after a restart")
		}
		if m.grants[id] == 0 {
			if _, err := m.p.Package(ctx, id, "bob", append(modelText(id), '!')); !errors.Is(err, parley.ErrRefused) {
				if err == nil {
					m.fatalf("the same id sealed another message")
				}
				return err
			}
		}
	}
	for digest, want := range m.texts {
		o, err := m.p.Unpackage(ctx, "bob", m.packets[digest])
		if err != nil {
			return err
		}
		if string(o.Message) != want {
			m.fatalf("a message that was answered is %q now, was %q", o.Message, want)
		}
	}
	for _, packet := range m.finished {
		if o, err := m.p.Unpackage(ctx, "bob", packet); err == nil {
			m.fatalf("a message that was Done came again: %q", o.Message)
		} else if !errors.Is(err, parley.ErrSeen) {
			return err
		}
	}
	return nil
}

func modelText(id [16]byte) []byte { return []byte("message " + string(id[:])) }

// leaves notes that a packet has left: no byte of pad may have left with another.
func (m *model) leaves(packet []byte) {
	at := used(m.t, m.v, m.size, packet, 0)
	digest := otp.Digest(packet)
	for i := at.start; i < at.end; i++ {
		if was, ok := m.leaked[i]; ok && was != digest {
			m.fatalf("the byte of pad at %d has left with two packets", i)
		}
		m.leaked[i] = digest
	}
}

func (m *model) send(n int, grant int64, size int) (packet []byte) {
	m.do(fmt.Sprint("package ", n), func() (err error) {
		if grant > 0 {
			packet, err = m.p.Grant(ctx, id(n), grant)
		} else {
			packet, err = m.p.Package(ctx, id(n), "bob", modelText(id(n)))
		}
		return err
	})
	m.leaves(packet)
	m.answered[id(n)] = packet
	m.grants[id(n)] = grant
	o, err := m.bob.Unpackage(ctx, "alice", packet)
	if err != nil {
		m.fatalf("bob cannot open packet %d: %v", n, err)
	}
	if grant == 0 && string(o.Message) != string(modelText(id(n))) {
		m.fatalf("bob opened %q", o.Message)
	}
	if o.RolledBack {
		m.fatalf("bob takes alice for rolled back")
	}
	// A number whose mark was on disk, and nothing else, is not used again.
	if m.v == otp.V2 && o.Missing > 0 && !m.disk.failed {
		m.fatalf("bob misses %d messages that never were", o.Missing)
	}
	check(m.t, m.bob.Done(ctx, "alice", otp.Digest(packet)))
	return packet
}

func (m *model) sent(n int, packet []byte) {
	delete(m.answered, id(n)) // from when Done is called the id may be forgotten
	m.do(fmt.Sprint("done ", n), func() error { return m.p.Done(ctx, "bob", otp.Digest(packet)) })
	at := used(m.t, m.v, m.size, packet, 0)
	m.burned = append(m.burned, at)
	m.ashes()
}

// ashes looks whether what was Done is burned.
func (m *model) ashes() {
	for _, at := range m.burned {
		b := make([]byte, at.len())
		if m.p == nil {
			return
		}
		if _, err := m.p.pad.ReadAt(b, m.p.base+at.start); err == nil && !allZero(b) {
			m.fatalf("done, and not burned")
		}
	}
}

func (m *model) receive(n int, grant int64) (packet []byte) {
	var err error
	text := fmt.Sprint("from bob ", n)
	if grant > 0 {
		text = ""
		packet, err = m.bob.Grant(ctx, id(n), grant)
	} else {
		packet, err = m.bob.Package(ctx, id(n), "alice", []byte(text))
	}
	check(m.t, err)
	m.do(fmt.Sprint("unpackage ", n), func() error {
		o, err := m.p.Unpackage(ctx, "bob", packet)
		if err == nil && string(o.Message) != text {
			m.fatalf("unpackage %d gave %q", n, o.Message)
		}
		return err
	})
	m.texts[otp.Digest(packet)], m.packets[otp.Digest(packet)] = text, packet
	return packet
}

func (m *model) received(n int, packet []byte) {
	delete(m.texts, otp.Digest(packet))
	m.do(fmt.Sprint("done with ", n), func() error { return m.p.Done(ctx, "bob", otp.Digest(packet)) })
	m.finished[otp.Digest(packet)] = packet
}

func (m *model) reopen() {
	m.do("close", func() error {
		err := m.p.Close()
		m.p = nil
		return err
	})
}

// script is a conversation with every kind of step, compaction of the journal among them.
func (m *model) script() {
	a := m.send(1, 0, 10)
	x := m.receive(101, 0)
	b := m.send(2, 0, 100)
	m.sent(1, a)
	m.received(101, x)
	if m.v == otp.V2 {
		g := m.send(3, 700, 0)
		m.sent(3, g)
		y := m.receive(102, 900)
		m.received(102, y)
	}
	m.reopen()
	m.do("once", func() error {
		packet, err := m.p.PackageOnce(ctx, []byte("once"))
		if err == nil {
			m.leaves(packet)
			_, err = m.bob.UnpackageOnce(ctx, packet)
			check(m.t, err)
		}
		return err
	})
	once, err := m.bob.PackageOnce(ctx, []byte("once from bob"))
	check(m.t, err)
	for got := false; !got; {
		m.do("once", func() error {
			o, err := m.p.UnpackageOnce(ctx, once)
			got = true
			if errors.Is(err, parley.ErrSeen) && m.disk.failed {
				return nil // lost with the answer
			}
			if err == nil && string(o.Message) != "once from bob" {
				m.fatalf("once: %q", o.Message)
			}
			return err
		})
	}
	m.finished[otp.Digest(once)] = once
	m.do("skip", func() error { return m.p.Skip(50) })
	m.sent(2, b)
	for n := 10; n < 13; n++ {
		packet := m.send(n, 0, 30)
		y := m.receive(100+n, 0)
		if n != 11 {
			m.sent(n, packet)
			m.received(100+n, y)
		}
	}
	m.reopen()
	m.do("last", func() error { return m.verify() })
}

// TestModelPowerLoss loses power at every call of a conversation, and goes on: see
// CONTRIBUTING.md, "never reuse a pad byte".
func TestModelPowerLoss(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		plain := newModel(t, v)
		plain.open()
		plain.script()
		steps, runs, stride := plain.disk.step, 0, 1
		if testing.Short() {
			stride = 7
		}
		for mode := lost; mode <= kill; mode++ {
			for at := 1; at <= steps; at += stride {
				seeds := 1
				if mode == torn && !testing.Short() {
					seeds = 3
				}
				for seed := range seeds {
					m := newModel(t, v)
					m.mode, m.rnd = mode, rand.New(rand.NewPCG(uint64(at), uint64(seed)))
					m.disk.failAt, m.disk.fault = at, errPower
					m.disk.onFail = func(call string) { m.where = call }
					m.script()
					if !m.disk.failed {
						t.Fatalf("call %d of %d was not reached", at, steps)
					}
					// Whatever was answered has been on disk before.
					m.disk.reboot(lost, m.rnd)
					m.p = nil
					m.do("in the end", m.verify)
					m.ashes()
					runs++
				}
			}
		}
		t.Logf("v%d: power lost at %d calls (%v), %d runs", v, steps, plain.disk.calls, runs)
	})
}

// TestModelFaults fails every call once, with a full disk and with a broken one.
func TestModelFaults(t *testing.T) {
	eachVersion(t, func(t *testing.T, v otp.Version) {
		plain := newModel(t, v)
		plain.open()
		plain.script()
		steps, stride := plain.disk.step, 1
		if testing.Short() {
			stride = 7
		}
		for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
			for at := 1; at <= steps; at += stride {
				m := newModel(t, v)
				m.rnd = rand.New(rand.NewPCG(uint64(at), 0))
				m.disk.failAt, m.disk.fault = at, fault
				m.disk.onFail = func(call string) { m.where = call }
				m.script()
				m.disk.reboot(lost, m.rnd)
				m.p = nil
				m.do("in the end", m.verify)
			}
		}
		t.Logf("v%d: %d calls failed in two ways", v, steps)
	})
}
