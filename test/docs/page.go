// Package docs reads the repository's Markdown: its links, its anchors as GitHub
// names them, and the commands that it shows. Its own tests find dead links; those
// of cmd/kmend and cmd/kmend-agent run the commands of theirs.
package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// Page is one Markdown file.
type Page struct {
	Path    string // from the root of the repository
	Anchors map[string]bool
	Links   []Link
	Blocks  []Block
	Spans   []Span
}

// Link is where a link or an image leads.
type Link struct {
	To   string
	Line int
}

// Block is a code block: fenced with a language or none, or indented.
type Block struct {
	Fenced   bool
	Language string
	Lines    []string
	Line     int // of the first of Lines
}

// Span is code within a text.
type Span struct {
	Text string
	Line int
}

// Pages reads every Markdown file of the repository at root that is not a test's data.
func Pages(root string) ([]Page, error) {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the Markdown files of %s: %w", root, err)
	}
	var pages []Page
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if strings.Contains(path, "testdata/") {
			continue
		}
		page, err := Open(root, path)
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		}
		if err != nil {
			return nil, err
		}
		pages = append(pages, page)
	}
	return pages, nil
}

// Open reads the file at path below root.
func Open(root, path string) (Page, error) {
	source, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return Page{}, err
	}
	page := Read(source)
	page.Path = path
	return page, nil
}

// Shown is what a reader copies from a page: the block which has a line that begins so,
// as a whole, or the code within its text that does; "" where there is neither.
func (p Page) Shown(begins string) string {
	for _, b := range p.Blocks {
		if slices.ContainsFunc(b.Lines, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), begins) }) {
			return strings.Join(b.Lines, "\n")
		}
	}
	for _, s := range p.Spans {
		if strings.HasPrefix(s.Text, begins) {
			return s.Text
		}
	}
	return ""
}

// Read parses one Markdown file as GitHub does.
func Read(source []byte) Page {
	page := Page{Anchors: map[string]bool{}}
	taken := map[string]int{}
	root := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			page.Anchors[anchor(words(n, source), taken)] = true
		case *ast.Link:
			page.Links = append(page.Links, Link{string(n.Destination), lineAt(source, n.Pos())})
		case *ast.Image:
			page.Links = append(page.Links, Link{string(n.Destination), lineAt(source, n.Pos())})
		case *ast.AutoLink:
			page.Links = append(page.Links, Link{string(n.URL(source)), lineAt(source, n.Pos())})
		case *ast.CodeSpan:
			page.Spans = append(page.Spans, Span{words(n, source), lineAt(source, n.Pos())})
		case *ast.CodeBlock:
			page.Blocks = append(page.Blocks, block(n, source, false, ""))
		case *ast.FencedCodeBlock:
			page.Blocks = append(page.Blocks, block(n, source, true, string(n.Language(source))))
		}
		return ast.WalkContinue, nil
	})
	return page
}

func block(n ast.Node, source []byte, fenced bool, language string) Block {
	b := Block{Fenced: fenced, Language: language}
	for i := range n.Lines().Len() {
		segment := n.Lines().At(i)
		if i == 0 {
			b.Line = lineAt(source, segment.Start)
		}
		b.Lines = append(b.Lines, strings.TrimRight(string(segment.Value(source)), "\n"))
	}
	return b
}

func lineAt(source []byte, offset int) int { return 1 + strings.Count(string(source[:offset]), "\n") }

// words is the text below a node, code included.
func words(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(source))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// anchor is GitHub's name of a heading: lower case, spaces are dashes, other
// punctuation is gone, and the second of the same name ends in -1.
func anchor(heading string, taken map[string]int) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
	n := taken[name]
	taken[name]++
	if n > 0 {
		return fmt.Sprintf("%s-%d", name, n)
	}
	return name
}
