package remote

import (
	"context"

	"parley/messenger"
)

// A method carries out one request. Those that wait do so without changing
// anything: a closing server ends them instead of finishing them.
type method struct {
	do    func(ctx context.Context, api messenger.API, r *request) (any, error)
	waits bool
}

// Parameters of the methods that have more than the API's own structs.
type (
	nothing   struct{}
	contactOf struct {
		Contact string `json:"contact"`
	}
	renameOf struct {
		Contact string `json:"contact"`
		To      string `json:"to"`
	}
	receiptsOf struct {
		Contact string `json:"contact"`
		Level   string `json:"level"`
	}
	verifiedOf struct {
		Number   messenger.SafetyNumber `json:"number"`
		Verified bool                   `json:"verified"`
	}
	grantOf struct {
		Contact string `json:"contact"`
		Size    int64  `json:"size"`
	}
	personOf struct {
		Contact string `json:"contact"`
		Person  string `json:"person"`
	}
	namePersonOf struct {
		Contact string `json:"contact"`
		Person  string `json:"person"`
		As      string `json:"as"`
	}
	sendOf struct {
		Contact string `json:"contact"`
		Text    string `json:"text"`
	}
	waitOf struct {
		ID    string          `json:"id"`
		Until messenger.State `json:"until"`
	}
	messageOf struct {
		ID string `json:"id"`
	}
	historyOf struct {
		Contact string `json:"contact"`
		Limit   int    `json:"limit"`
	}
	accountOf struct {
		Kind    string `json:"kind"`
		Account string `json:"account"`
	}
	registerOf struct {
		Kind    string `json:"kind"`
		Account string `json:"account"`
		Contact string `json:"contact"`
	}
	rotateOf struct {
		Kind    string `json:"kind"`
		Account string `json:"account"`
		Setup   []byte `json:"setup"`
	}
	presenceOf struct {
		Kind    string `json:"kind"`
		Account string `json:"account"`
		On      bool   `json:"on"`
	}
	counted struct {
		Items int `json:"items"`
	}
)

// call makes a method of a function from parameters to a result.
func call[P, R any](f func(context.Context, messenger.API, P) (R, error)) method {
	return method{do: func(ctx context.Context, api messenger.API, r *request) (any, error) {
		p, err := params[P](r)
		if err != nil {
			return nil, err
		}
		return f(ctx, api, p)
	}}
}

// list makes a method that sends its results one by one: together they could be
// longer than a line.
func list[P, R any](f func(context.Context, messenger.API, P) ([]R, error)) method {
	return method{do: func(ctx context.Context, api messenger.API, r *request) (any, error) {
		p, err := params[P](r)
		if err != nil {
			return nil, err
		}
		all, err := f(ctx, api, p)
		if err != nil {
			return nil, err
		}
		for _, v := range all {
			if err := r.send("item", v); err != nil {
				return nil, err
			}
		}
		return counted{len(all)}, nil
	}}
}

func params[P any](r *request) (P, error) {
	var p P
	if r.params == nil {
		return p, nil
	}
	if err := decode(r.params, &p); err != nil {
		return p, &Error{Code: codeParams, Message: "parameters: " + err.Error()}
	}
	return p, nil
}

func done(err error) (nothing, error) { return nothing{}, err }

var methods = map[string]method{
	"invite": call(func(ctx context.Context, a messenger.API, p messenger.InviteOptions) (messenger.Invitation, error) {
		return a.Invite(ctx, p)
	}),
	"accept": call(func(ctx context.Context, a messenger.API, p messenger.AcceptOptions) (messenger.Contact, error) {
		return a.Accept(ctx, p)
	}),
	"add-conversation": call(func(ctx context.Context, a messenger.API, p messenger.ConversationOptions) (messenger.Contact, error) {
		return a.AddConversation(ctx, p)
	}),
	"add-account": call(func(ctx context.Context, a messenger.API, p messenger.AccountOptions) (messenger.Account, error) {
		return a.AddAccount(ctx, p)
	}),
	"accounts": list(func(ctx context.Context, a messenger.API, _ nothing) ([]messenger.Account, error) {
		return a.Accounts(ctx)
	}),
	"register": call(func(ctx context.Context, a messenger.API, p registerOf) (messenger.Account, error) {
		return a.Register(ctx, p.Kind, p.Account, p.Contact)
	}),
	"rotate-account": call(func(ctx context.Context, a messenger.API, p rotateOf) (messenger.Account, error) {
		return a.RotateAccount(ctx, p.Kind, p.Account, p.Setup)
	}),
	"remove-account": call(func(ctx context.Context, a messenger.API, p accountOf) (nothing, error) {
		return done(a.RemoveAccount(ctx, p.Kind, p.Account))
	}),
	"presence": call(func(ctx context.Context, a messenger.API, p presenceOf) (messenger.Account, error) {
		return a.SetPresence(ctx, p.Kind, p.Account, p.On)
	}),
	"add-peer": call(func(ctx context.Context, a messenger.API, p messenger.PeerOptions) (messenger.Contact, error) {
		return a.AddPeer(ctx, p)
	}),
	"add-pad": call(func(ctx context.Context, a messenger.API, p messenger.PadOptions) (messenger.Contact, error) {
		return a.AddPad(ctx, p)
	}),
	"grant-pad": call(func(ctx context.Context, a messenger.API, p grantOf) (nothing, error) {
		return done(a.GrantPad(ctx, p.Contact, p.Size))
	}),
	"set-circle": call(func(ctx context.Context, a messenger.API, p messenger.Circle) (messenger.Circle, error) {
		return a.SetCircle(ctx, p.Name, p.Members)
	}),
	"circles": list(func(ctx context.Context, a messenger.API, _ nothing) ([]messenger.Circle, error) {
		return a.Circles(ctx)
	}),
	"send-all": list(func(ctx context.Context, a messenger.API, p sendOf) ([]messenger.Message, error) {
		return a.SendAll(ctx, p.Contact, p.Text)
	}),
	"people": list(func(ctx context.Context, a messenger.API, p contactOf) ([]messenger.Person, error) {
		return a.People(ctx, p.Contact)
	}),
	"admit": call(func(ctx context.Context, a messenger.API, p personOf) (messenger.Person, error) {
		return a.Admit(ctx, p.Contact, p.Person)
	}),
	"expel": call(func(ctx context.Context, a messenger.API, p personOf) (messenger.Person, error) {
		return a.Expel(ctx, p.Contact, p.Person)
	}),
	"name-person": call(func(ctx context.Context, a messenger.API, p namePersonOf) (messenger.Person, error) {
		return a.NamePerson(ctx, p.Contact, p.Person, p.As)
	}),
	"contacts": list(func(ctx context.Context, a messenger.API, _ nothing) ([]messenger.Contact, error) {
		return a.Contacts(ctx)
	}),
	"contact": call(func(ctx context.Context, a messenger.API, p contactOf) (messenger.Contact, error) {
		return a.Contact(ctx, p.Contact)
	}),
	"rename": call(func(ctx context.Context, a messenger.API, p renameOf) (nothing, error) {
		return done(a.Rename(ctx, p.Contact, p.To))
	}),
	"receipts": call(func(ctx context.Context, a messenger.API, p receiptsOf) (nothing, error) {
		return done(a.SetReceipts(ctx, p.Contact, p.Level))
	}),
	"remove": call(func(ctx context.Context, a messenger.API, p contactOf) (nothing, error) {
		return done(a.Remove(ctx, p.Contact))
	}),
	"safety": call(func(ctx context.Context, a messenger.API, p contactOf) (messenger.SafetyNumber, error) {
		return a.SafetyNumber(ctx, p.Contact)
	}),
	"verified": call(func(ctx context.Context, a messenger.API, p verifiedOf) (nothing, error) {
		return done(a.SetVerified(ctx, p.Number, p.Verified))
	}),
	"send": call(func(ctx context.Context, a messenger.API, p sendOf) (messenger.Message, error) {
		return a.Send(ctx, p.Contact, p.Text)
	}),
	"wait": waiting(call(func(ctx context.Context, a messenger.API, p waitOf) (messenger.Message, error) {
		return a.Wait(ctx, p.ID, p.Until)
	})),
	"message": call(func(ctx context.Context, a messenger.API, p messageOf) (messenger.Message, error) {
		return a.Message(ctx, p.ID)
	}),
	"listen": {do: listen, waits: true},
	"watch":  {do: watch, waits: true},
	"history": list(func(ctx context.Context, a messenger.API, p historyOf) ([]messenger.Message, error) {
		return a.History(ctx, p.Contact, p.Limit)
	}),
	"resend": call(func(ctx context.Context, a messenger.API, p messageOf) (messenger.Message, error) {
		return a.Resend(ctx, p.ID)
	}),
	"abandon": call(func(ctx context.Context, a messenger.API, p messageOf) (messenger.Message, error) {
		return a.Cancel(ctx, p.ID)
	}),
	"queue": list(func(ctx context.Context, a messenger.API, _ nothing) ([]messenger.QueueEntry, error) {
		return a.Queue(ctx)
	}),
	"status": call(func(ctx context.Context, a messenger.API, _ nothing) (messenger.Status, error) {
		return a.Status(ctx)
	}),
}

func waiting(m method) method {
	m.waits = true
	return m
}

func listen(ctx context.Context, api messenger.API, r *request) (any, error) {
	p, err := params[contactOf](r)
	if err != nil {
		return nil, err
	}
	return done(api.Listen(ctx, p.Contact, func(m messenger.Message) error { return r.show(ctx, m) }))
}

// watch passes changes on through a queue: the messenger never waits for a
// client that does not read.
func watch(ctx context.Context, api messenger.API, r *request) (any, error) {
	if _, err := params[nothing](r); err != nil {
		return nil, err
	}
	queue := make(chan messenger.Change, backlog)
	ended := make(chan error, 1)
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		ended <- api.Watch(inner, func(c messenger.Change) error {
			select {
			case queue <- c:
				return nil
			default:
				return ErrSlow
			}
		})
	}()
	for {
		select {
		case c := <-queue:
			if err := r.send("changed", c); err != nil {
				cancel()
				<-ended
				return nil, err
			}
		case err := <-ended:
			return done(err)
		}
	}
}
