package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"parley"
	"parley/internal/jsonobject"
	"parley/paddevice"
	"parley/secure/otp"
)

// rpcClient is who asks by the original's RPC: it has no way to say more.
const rpcClient = "RPC, not paired"

// forbidden are the other names in the original's module: they are there, and not to be
// called.
var forbidden = []string{
	"whoami", "test_prompt", "teapot", "ALLOW_LIST", "csc", "crypto", "read", "os", "json", "base64", "traceback", "logging",
	"__builtins__", "__doc__", "__file__", "__name__", "__package__", "__class__", "__dict__", "__init__", "__new__", "__repr__", "__str__",
	"__delattr__", "__getattribute__", "__setattr__", "__hash__", "__reduce__", "__reduce_ex__", "__sizeof__", "__subclasshook__", "__format__",
}

// errException is what the original's device answers when a method raises.
var errException = errors.New(paddevice.ErrorException)

// rpc serves the original's RPC.
func (d *device) rpc(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != paddevice.PathRPC {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "only POST", http.StatusMethodNotAllowed)
		return
	}
	// A page from anywhere could otherwise have a browser on this machine ask: it may not
	// send JSON without asking first, and cannot keep its own name out of Host.
	if !localHost(r.Host) || r.Header.Get("Origin") != "" || !isJSON(r.Header.Get("Content-Type")) {
		reply(w, http.StatusBadRequest, paddevice.Answer{Error: "a request is JSON (Content-Type: application/json), asks for an address or localhost, and comes from no web page"})
		return
	}
	body, release, err := readBody(w, r, rpcLarge)
	if err != nil {
		return
	}
	c, ok := parseCall(body)
	release()
	if !ok {
		reply(w, http.StatusBadRequest, paddevice.Answer{Error: "the body is no JSON object with a method"})
		return
	}
	reply(w, http.StatusOK, d.call(r, c))
}

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json"))
}

// localHost reports whether a Host header names an address or localhost: any other name
// may belong to somebody who has it point here.
func localHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return host == "localhost" || net.ParseIP(host) != nil
}

// parseCall reads a request. Its arguments may be of any form here: the original's error
// for that is the method's.
func parseCall(body []byte) (c *paddevice.Call, ok bool) {
	if !utf8.Valid(body) {
		return nil, false
	}
	o, err := jsonobject.Parse(body)
	if err != nil {
		return nil, false
	}
	c = &paddevice.Call{}
	if c.Method, err = o.String("method"); err != nil {
		return nil, false
	}
	if json.Unmarshal(o["args"], &c.Args) != nil {
		c.Args = nil
	}
	if kw, err := jsonobject.Parse(o["kwargs"]); err == nil && c.Args != nil {
		c.Kwargs = kw
	}
	return c, true
}

// arguments binds a call's arguments to a method's parameters as Python does: none
// missing, none too many, none twice.
func arguments(c *paddevice.Call) (map[string]json.RawMessage, error) {
	names := paddevice.Methods[c.Method]
	if c.Args == nil || c.Kwargs == nil || len(c.Args) > len(names) {
		return nil, errException
	}
	all := map[string]json.RawMessage{}
	for i, v := range c.Args {
		all[names[i]] = v
	}
	for name, v := range c.Kwargs {
		if _, twice := all[name]; twice || !slices.Contains(names, name) {
			return nil, errException
		}
		all[name] = v
	}
	if len(all) != len(names) {
		return nil, errException
	}
	return all, nil
}

// halfPair reports whether a string has half of a surrogate pair in it (\ud83d alone):
// that is no character, and the message that came out would not be the one that went in.
func halfPair(raw json.RawMessage) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		high := unit(raw[i-1:])
		if !utf16.IsSurrogate(high) {
			continue
		}
		i += 4
		if utf16.DecodeRune(high, unit(raw[i+1:])) == unicode.ReplacementChar {
			return true
		}
		i += 6
	}
	return false
}

// unit is the code unit of a \uXXXX at the beginning of b, or 0.
func unit(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

func (d *device) call(r *http.Request, c *paddevice.Call) paddevice.Answer {
	if _, ok := paddevice.Methods[c.Method]; !ok {
		if slices.Contains(forbidden, c.Method) {
			return paddevice.Answer{Error: paddevice.ErrorForbidden}
		}
		return paddevice.Answer{Error: paddevice.ErrorNoMethod}
	}
	v, err := d.method(r, c)
	var b []byte
	if err == nil {
		b, err = json.Marshal(v)
	}
	if err != nil { // nothing of it is for the client
		if !errors.Is(err, errException) {
			d.internal(c.Method, &job{client: rpcClient}, err)
		}
		return paddevice.Answer{Error: paddevice.ErrorException}
	}
	return paddevice.Answer{Return: b}
}

func (d *device) method(r *http.Request, c *paddevice.Call) (any, error) {
	args, err := arguments(c)
	if err != nil {
		return nil, err
	}
	text := map[string]string{}
	for name, raw := range args {
		if name == "ref" {
			continue
		}
		var s *string
		if json.Unmarshal(raw, &s) != nil || s == nil || halfPair(raw) {
			return nil, errException
		}
		text[name] = *s
	}
	switch c.Method {
	case "package":
		return d.rpcPackage(r, text["src_uid"], text["dst_uid"], text["message"])
	case "unpackage":
		return d.rpcUnpackage(r, text["src_uid"], text["dst_uid"], text["package"])
	case "get_next_ref":
		return nextRef(d.dir, text["uid"], text["server"])
	}
	var ref *int64
	if json.Unmarshal(args["ref"], &ref) != nil || ref == nil {
		return nil, errException
	}
	if !d.keeps(parley.Name(text["uid"])) {
		return nil, errException
	}
	return nil, saveNextRef(r.Context(), d.dir, text["uid"], text["server"], *ref)
}

func (d *device) rpcPackage(r *http.Request, src, dst, message string) (any, error) {
	if src == dst {
		return paddevice.Packaged{Error: paddevice.ErrorSelf}, nil
	}
	packet, err := d.packaged(r.Context(), &job{client: rpcClient, self: parley.Name(src), peer: parley.Name(dst), data: []byte(message)})
	if err != nil {
		return paddevice.Packaged{Error: rpcError(err, paddevice.ErrorEncrypt)}, nil
	}
	return paddevice.Packaged{Success: true, Package: base64.StdEncoding.EncodeToString(packet)}, nil
}

func (d *device) rpcUnpackage(r *http.Request, src, dst, pack string) (any, error) {
	if src == dst {
		return paddevice.Unpackaged{Error: paddevice.ErrorSelf}, nil
	}
	packet, err := base64.StdEncoding.Strict().DecodeString(pack)
	if err != nil || strings.ContainsAny(pack, "\r\n") { // which the decoder leaves out
		return nil, errException
	}
	o, err := d.opened(r.Context(), &job{client: rpcClient, self: parley.Name(dst), peer: parley.Name(src), data: packet})
	skip := o != nil && o.Skipped
	if errors.Is(err, parley.ErrSeen) {
		reuse := true
		return paddevice.Unpackaged{Error: paddevice.ErrorDecrypt, Skip: &skip, Reuse: &reuse}, nil
	}
	if err != nil {
		return paddevice.Unpackaged{Error: rpcError(err, paddevice.ErrorDecrypt)}, nil
	}
	message, reuse := string(o.Message), false
	if !utf8.ValidString(message) {
		d.log.Add(Entry{Kind: KindText, Peer: src, Client: rpcClient, Text: "a genuine message is not UTF-8: this RPC cannot carry it, and its pad is used"})
		d.log.Sync()
		return nil, errException
	}
	return paddevice.Unpackaged{Success: true, Message: &message, Skip: &skip, Reuse: &reuse}, nil
}

// rpcError is the original's text for an error; other is the operation's own.
func rpcError(err error, other string) string {
	switch {
	case errors.Is(err, otp.ErrHeld):
		return other
	case errors.Is(err, parley.ErrDenied):
		return paddevice.ErrorRejected
	case errors.Is(err, parley.ErrNoKey):
		return paddevice.ErrorNoPad
	case errors.Is(err, otp.ErrDepleted):
		return paddevice.ErrorDepleted
	}
	return other
}
