package server

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"parley/parleytest"
)

// A tab is a page of a headless Chromium of a phone's width.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func browser(t *testing.T) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WindowSize(420, 900), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() { chromedp.Cancel(ctx); cancel() })
	return &tab{t, ctx}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) text() string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// picture keeps a picture of the page for docs/keydir.md, if a folder is given.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("KEYDIR_PICTURES")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// A person registers, follows the mailed link in a browser, presses the button, looks
// the name up, and deletes it: with the real mail, over a real connection.
func TestBrowser(t *testing.T) {
	parleytest.Need(t, "chromium")
	p := newPostOffice(t, "keys", true, false)
	w := newWorld(t, Options{Mail: p.mail(t, "smtp", postPassword), URL: "listener"})
	base, _ := w.serve()
	if rec := w.ask("POST", "/users", registration("alice", "alice@mail.example", pairOf("alice").keys(), nil)); rec.Code != 201 {
		t.Fatal(rec.Code)
	}
	_, plain, _ := parts(t, (<-p.got).text)
	links := linksIn(plain)
	if len(links) != 2 {
		t.Fatalf("%s", plain)
	}
	if !strings.Contains(plain, base+links[0]) {
		t.Fatalf("the link is not %s%s:\n%s", base, links[0], plain)
	}
	b := browser(t)
	b.do(chromedp.Navigate(base + "/"))
	home := b.text()
	b.picture("keydir-home.png")
	b.do(chromedp.Navigate(base + links[0]))
	asked := b.text()
	b.picture("keydir-activate.png")
	if !strings.Contains(home, "Key directory") || !strings.Contains(asked, "Activate “alice”?") {
		t.Errorf("home: %s\nlink: %s", home, asked)
	}
	if rec := w.ask("GET", "/users/alice", ""); rec.Code != 404 {
		t.Fatal("opening the link has activated the account")
	}
	b.do(chromedp.Click(chromedp.CSS("form button")), chromedp.WaitVisible(chromedp.CSS("p.said")))
	if done := b.text(); !strings.Contains(done, "user activated") {
		t.Errorf("done: %s", done)
	}
	w.answer("alice")
	b.do(chromedp.Navigate(base+"/"), chromedp.SendKeys(chromedp.CSS("input[name=user]"), "alice"),
		chromedp.Submit(chromedp.CSS("input[name=user]")), chromedp.WaitVisible(chromedp.CSS("dl code.print")))
	if found := b.text(); !strings.Contains(found, "key version") {
		t.Errorf("found: %s", found)
	}
	// The style is taken in spite of the policy, and nothing is wider than a phone.
	wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("code.print")).display + (document.documentElement.scrollWidth > innerWidth)`))
	if err != nil || wide != "blockfalse" {
		t.Errorf("%s, %v", wide, err)
	}
	b.do(chromedp.Navigate(base+links[1]), chromedp.Click(chromedp.CSS("form button")), chromedp.WaitVisible(chromedp.CSS("p.said")))
	if rec, gone := w.ask("GET", "/users/alice", ""), b.text(); rec.Code != 404 || !strings.Contains(gone, "user deleted") {
		t.Errorf("%d, %s", rec.Code, gone)
	}
}
