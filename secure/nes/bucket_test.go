package nes

import "parley/parleytest"

func newBucket() *parleytest.Bucket { return parleytest.NewBucket() }
