package server

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"parley/parleytest"
)

// The page in a real browser: a person opens the address, sees who wants what, denies one
// request and allows the next; another tab without the secret sees nothing.
func TestPageBrowser(t *testing.T) {
	path := parleytest.Need(t, "chromium")
	w := newWorld(t)
	w.v1("alice", "bob", randomBytes(1, 1<<20), true)
	w.start(Options{Page: "127.0.0.1:0"})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WindowSize(640, 480), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer func() { chromedp.Cancel(ctx); cancel() }()
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	text := func() string {
		t.Helper()
		s, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
		check(t, err)
		return s
	}
	ready := `document.querySelector("#allow") && !document.querySelector("#allow").disabled && !document.querySelector("#question").hidden`
	quiet := `document.querySelector("#question").hidden && document.querySelector("#state").textContent.startsWith("Nobody")`
	until := func(js string) {
		t.Helper()
		for {
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+js+")"))
			check(t, err)
			if ok {
				return
			}
		}
	}
	base, _, _ := strings.Cut(w.s.PageURL, "#")
	do(chromedp.Navigate(base))
	until(`document.querySelector("#state").classList.contains("bad")`)
	if s := text(); !strings.Contains(s, "needs the address that the device's terminal shows") {
		t.Errorf("without the secret: %s", s)
	}
	do(chromedp.Navigate("about:blank"), chromedp.Navigate(w.s.PageURL))
	until(quiet)
	if at, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href")); err != nil || at != base {
		t.Errorf("the secret stays in the address: %s, %v", at, err)
	}
	got := make(chan string, 1)
	for _, c := range []struct{ button, want string }{
		{"#deny", "User rejected pad read request."}, {"#allow", `"success":true`},
	} {
		go func() { got <- w.call("package", "alice", "bob", "hello, Bob") }()
		until(ready)
		if s := text(); !strings.Contains(s, "SEND a message of 10 bytes from alice to bob?") || !strings.Contains(s, "68 bytes") || !strings.Contains(s, "Deny") {
			t.Errorf("%s", s)
		}
		if dir := os.Getenv("PADDEVICE_PICTURES"); dir != "" && c.button == "#allow" {
			png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			check(t, err)
			check(t, os.WriteFile(filepath.Join(dir, "pad-device-confirm.png"), png, 0o644))
		}
		do(chromedp.Click(chromedp.CSS(c.button)))
		if s := <-got; !strings.Contains(s, c.want) {
			t.Errorf("%s: %s", c.button, s)
		}
		until(quiet)
	}
	// A page that is loaded anew goes on; the policy lets nothing else run, and styles do.
	do(chromedp.Reload())
	until(quiet)
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("main")).padding + (document.documentElement.scrollWidth > innerWidth)`))
	if err != nil || wide != "16pxfalse" {
		t.Errorf("%s, %v", wide, err)
	}
	// The device stops: the page says so.
	w.stop()
	until(`document.querySelector("#state").textContent.includes("does not answer")`)
}
