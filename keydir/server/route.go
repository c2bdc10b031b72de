package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// segments takes a path apart as it was sent: an escaped slash (%2F) separates
// nothing. It returns nil for what is no path of ours in its plain form: with an
// empty segment, "." or "..". A redirect to the plain one would hide a mistake.
func segments(escaped string) []string {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return nil
	}
	all := strings.Split(rest, "/")
	for i, s := range all {
		text, err := url.PathUnescape(s)
		if err != nil || text == "." || text == ".." || (text == "" && len(all) > 1) {
			return nil
		}
		all[i] = text
	}
	return all
}

// path returns the segments of a request's path; the root has one, which is empty.
// The path of the directory's own URL is taken off, for a proxy that leaves it there.
func (d *Directory) path(r *http.Request) []string {
	escaped := r.URL.EscapedPath()
	n := len(d.prefix)
	if n == 0 {
		return segments(escaped)
	}
	// The root below a path may end with a slash.
	if root := segments(strings.TrimSuffix(escaped, "/")); slices.Equal(root, d.prefix) {
		return []string{""}
	}
	all := segments(escaped)
	if len(all) > n && slices.Equal(all[:n], d.prefix) {
		return all[n:]
	}
	return all
}

// route returns what answers at a path, or nil.
func (d *Directory) route(path []string, r *http.Request) methods {
	if len(path) > 1 && path[0] == "users" {
		r.SetPathValue("user", path[1])
	}
	switch len(path) {
	case 1:
		switch path[0] {
		case "":
			return methods{"GET": d.getHome}
		case "users":
			return methods{"POST": d.postUser}
		case "log":
			return methods{"GET": d.getLog}
		case "key":
			return methods{"GET": d.getKey}
		case "healthz":
			return methods{"GET": d.getHealth}
		case "metrics":
			return methods{"GET": d.getMetrics}
		case "lookup":
			return methods{"GET": d.getLookup}
		}
	case 2:
		switch {
		case path[0] == "users":
			return methods{"GET": d.getUser}
		case path[0] == "log" && path[1] == "head":
			return methods{"GET": d.getHead}
		}
	case 3:
		if path[0] == "users" {
			return d.routeToken(path[2], r)
		}
	}
	return nil
}

// routeToken returns what answers below a user. "keys" and "mail" stand where tokens
// do, and for who asks for one they are tokens that nobody has.
func (d *Directory) routeToken(token string, r *http.Request) methods {
	r.SetPathValue("token", token)
	asks := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case token == "keys" && !asks:
		return methods{"POST": d.postKeys}
	case token == "mail" && !asks:
		return methods{"POST": d.postMail}
	}
	return methods{"GET": d.getLink, "POST": d.postLink}
}
