package smpserver

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// halfOpen is the connections whose handshake is not finished. When there are
// too many, of all or of one host, the oldest is closed: whoever is quick gets
// in, also while another holds connections open and says nothing. Server.mu
// guards it; addresses are forgotten with the handshake.
type halfOpen struct {
	all   *list.List // of *half
	hosts map[netip.Prefix]*list.List
}

type half struct {
	nc     net.Conn
	host   netip.Prefix
	inAll  *list.Element
	inHost *list.Element
}

func (o *halfOpen) init() {
	o.all, o.hosts = list.New(), make(map[netip.Prefix]*list.List)
}

func (o *halfOpen) add(nc net.Conn, host netip.Prefix, most, mostPerHost int) *half {
	l := o.hosts[host]
	if l == nil {
		l = list.New()
		o.hosts[host] = l
	}
	h := &half{nc: nc, host: host}
	h.inAll, h.inHost = o.all.PushBack(h), l.PushBack(h)
	switch {
	case l.Len() > mostPerHost:
		o.drop(l.Front().Value.(*half))
	case o.all.Len() > most:
		o.drop(o.all.Front().Value.(*half))
	}
	return h
}

// drop closes a connection; its goroutine does the rest.
func (o *halfOpen) drop(h *half) {
	h.nc.Close()
	o.remove(h)
}

func (o *halfOpen) remove(h *half) {
	if h.inAll == nil {
		return
	}
	o.all.Remove(h.inAll)
	h.inAll = nil
	l := o.hosts[h.host]
	if l.Remove(h.inHost); l.Len() == 0 {
		delete(o.hosts, h.host)
	}
}

func (o *halfOpen) closeAll() {
	for e := o.all.Front(); e != nil; e = o.all.Front() {
		o.drop(e.Value.(*half))
	}
}

// A budget is an amount of memory that many share.
type budget struct {
	mu   sync.Mutex
	room sync.Cond
	left int64
	all  int64
}

func (b *budget) init(n int64) {
	b.left, b.all = n, n
	b.room.L = &b.mu
}

// take waits until n bytes are free; more than all counts as all.
func (b *budget) take(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n = min(n, b.all); b.left < n; {
		b.room.Wait()
	}
	b.left -= n
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	b.left += min(n, b.all)
	b.mu.Unlock()
	b.room.Broadcast()
}
