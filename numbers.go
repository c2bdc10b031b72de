package parley

// Assigned numbers. 1 to 63 are PhoneX's; its draft gives 4 to both STPSimpleAuth
// and Group STPAuth, and its Android client uses 5 for file transfer, so the
// group variant is 8 here. 64 and up are ours. Numbers are never reused.
var (
	SMIME        = STP{1, 1}
	STPSimpleV1  = STP{2, 1}
	STPSimpleV2  = STP{2, 2}
	STPSimpleV3  = STP{2, 3} // what the released clients speak
	KeyslotGroup = STP{3, 1}
	STPAuthV1    = STP{4, 1}
	STPAuthV2    = STP{4, 2}
	KeyslotAuth  = STP{8, 1}
	StringPhone  = STP{64, 1}
	OneTimePad   = STP{65, 1} // One Time Chat's
	OneTimePadV2 = STP{65, 2} // integrity is unconditional too
	NES          = STP{66, 1}
	Ratchet      = STP{67, 1}
	SMPBare      = STP{68, 1} // SMP's own end-to-end layer and nothing above it
	Fragment     = STP{69, 1} // a piece of a longer packet; see package envelope
)

// Application messages. 1 is PhoneX's text, 2 its notifications.
var (
	TextPlain    = AMP{1, 1} // UTF-8
	TextSimple   = AMP{1, 2} // AMPSimple: gzip and nonce
	Notification = AMP{2, 1}

	Hello      = AMP{64, 1} // who I am and where I receive; opens every line
	Receipt    = AMP{65, 1}
	Edit       = AMP{66, 1}
	Delete     = AMP{67, 1}
	File       = AMP{68, 1} // the manifest; chunks travel apart
	Paths      = AMP{69, 1} // mailboxes added to or taken from a line
	Devices    = AMP{70, 1} // devices added to or taken from a person
	Membership = AMP{71, 1} // of a group
	Presence   = AMP{72, 1} // presence, typing
)
