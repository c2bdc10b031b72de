//go:build !unix

package main

func background() {}
