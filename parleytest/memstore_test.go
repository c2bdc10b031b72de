package parleytest

import (
	"testing"

	"parley/broker/store"
)

func TestMemStore(t *testing.T) {
	Store(t, func(*testing.T) store.Store { return NewStore() })
}
