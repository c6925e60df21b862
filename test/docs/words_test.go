package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// speaking are the pages whose spans of several words are what kmend says.
var speaking = map[string]int{"docs/guards.md": 25, "docs/troubleshooting.md": 40}

// What these pages say that kmend says is in its code, with ... for what differs.
func TestWords(t *testing.T) {
	texts := spoken(t)
	for _, p := range pages(t) {
		least, ok := speaking[p.Path]
		if !ok {
			continue
		}
		seen := 0
		for _, s := range p.Spans {
			if !message(s.Text) {
				continue
			}
			seen++
			if !said(texts, s.Text) {
				t.Errorf("%s:%d: nothing in the code says %q", p.Path, s.Line, s.Text)
			}
		}
		if seen < least {
			t.Errorf("%s: %d messages found only", p.Path, seen)
		}
	}
}

// message reports whether a span is one: three words and more, and no command.
func message(text string) bool {
	fields := strings.Fields(text)
	return len(fields) >= 3 && !programs[fields[0]] && !strings.HasSuffix(fields[0], ":") || strings.Contains(text, "... ")
}

func said(texts []string, words string) bool {
	for _, text := range texts {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

var verb = regexp.MustCompile(`%(%|[-+# 0-9.]*[a-zA-Z])`)

// plain is a format with ... for its verbs.
func plain(format string) string {
	return verb.ReplaceAllStringFunc(format, func(v string) string {
		if v == "%%" {
			return "%"
		}
		return "..."
	})
}

// spoken are the texts of the code, as they are or put together: a value within is "...".
func spoken(t *testing.T) (texts []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "test" || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "dist"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr, *ast.BasicLit:
				if text, ok := textOf(n.(ast.Expr)); ok {
					texts = append(texts, text)
				}
				_, whole := n.(*ast.BinaryExpr)
				return !whole || n.(*ast.BinaryExpr).Op != token.ADD
			}
			return true
		})
		return nil
	})
	if err != nil || len(texts) < 5000 {
		t.Fatalf("%d texts, %v", len(texts), err)
	}
	return texts
}

// textOf is a string literal, or several with values between them, one of them a text.
func textOf(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return plain(text), err == nil
	case *ast.BinaryExpr:
		a, one := textOf(e.X)
		b, other := textOf(e.Y)
		return orDots(a, one) + orDots(b, other), e.Op == token.ADD && (one || other)
	}
	return "", false
}

func orDots(text string, ok bool) string {
	if !ok {
		return "..."
	}
	return text
}

func TestSaid(t *testing.T) {
	e, err := parser.ParseExpr(`"no agent on " + node + fmt.Sprintf("x") + ": %d of %.0f%% left"`)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := textOf(e)
	if !ok || !said([]string{text}, "no agent on ......: ... of ...% left") || said([]string{text}, "no agents") {
		t.Errorf("%q, %v", text, ok)
	}
}
