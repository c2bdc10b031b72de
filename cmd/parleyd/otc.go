package main

import (
	"fmt"
	"io"

	"parley/server"
)

type otcMailboxCmd struct {
	Action string `arg:"" enum:"permit,release,delete" help:"permit: let a mailbox that is in use be claimed, once; release: take it from its owner, so that everybody may read what is in it; delete: delete it and what is in it."`
	UID    string `arg:"" name:"uid" help:"Whose mailbox."`
	Data   string `type:"path" required:"" placeholder:"DIR" help:"The data folder."`
}

// Run changes the mailbox.
func (m *otcMailboxCmd) Run(out io.Writer) error {
	if err := server.OTCMailbox(m.Data, m.Action, m.UID); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "done")
	return err
}
