// Package builtin is the table of plug-ins: what this build of Parley speaks.
package builtin
