package ratchet

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// The package is pure: it asks no clock, starts no goroutine, keeps no memory of
// its own, and imports little.
func TestPurity(t *testing.T) {
	allowed := map[string]bool{"parley": true, "parley/envelope": true}
	for _, p := range strings.Fields("bytes context crypto/aes crypto/cipher crypto/ecdh crypto/hkdf crypto/hmac crypto/mlkem crypto/rand crypto/sha256 encoding/binary errors fmt io math slices") {
		allowed[p] = true
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	set, files := token.NewFileSet(), 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files++
		f, err := parser.ParseFile(set, e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if !allowed[strings.Trim(i.Path.Value, `"`)] {
				t.Errorf("%s imports %s", e.Name(), i.Path.Value)
			}
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				for _, s := range g.Specs {
					name := s.(*ast.ValueSpec).Names[0].Name
					if !strings.HasPrefix(name, "Err") && !strings.HasPrefix(name, "err") && !strings.HasPrefix(name, "max") && name != "_" {
						t.Errorf("%s: a variable of the package: %s", e.Name(), name)
					}
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine", set.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" {
					t.Errorf("%s: time.%s", set.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
	if files < 5 {
		t.Errorf("%d files seen", files)
	}
}
