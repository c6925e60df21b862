package docs

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func pages(t *testing.T) []Page {
	t.Helper()
	all, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("%d pages only", len(all))
	}
	return all
}

// Every link of the repository's pages leads to a file of it, and to a heading that is there.
func TestLinks(t *testing.T) {
	all := pages(t)
	for _, p := range all {
		for _, why := range dead(p, all, root) {
			t.Error(why)
		}
	}
}

// dead are the links of a page that lead nowhere, with the reason.
func dead(p Page, all []Page, root string) []string {
	var out []string
	for _, l := range p.Links {
		if why := leads(p, l.To, all, root); why != "" {
			out = append(out, fmt.Sprintf("%s:%d: link to %s: %s", p.Path, l.Line, l.To, why))
		}
	}
	return out
}

// leads says why a link leads nowhere. What is outside of the repository is not
// asked for: the tests need no network.
func leads(p Page, to string, all []Page, root string) string {
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme == "https" || u.Scheme == "http":
		if u.Host == "" || !strings.Contains(u.Host, ".") {
			return "it has no host"
		}
		return ""
	case u.Scheme == "mailto":
		return ""
	case u.Scheme != "":
		return "neither a file nor https"
	case strings.HasPrefix(u.Path, "/"):
		return "write it from the page's folder"
	}
	at := p.Path
	if u.Path != "" {
		at = path.Join(path.Dir(p.Path), u.Path)
		if strings.HasPrefix(at, "..") {
			return "it is outside of the repository"
		}
		if _, err := os.Stat(filepath.Join(root, at)); err != nil {
			return "no such file"
		}
	}
	if u.Fragment == "" {
		return ""
	}
	i := slices.IndexFunc(all, func(p Page) bool { return p.Path == at })
	if i < 0 {
		return "an anchor of what is no page"
	}
	if !all[i].Anchors[u.Fragment] {
		return "no such heading in " + at
	}
	return ""
}

func TestDeadLinksAreFound(t *testing.T) {
	p := Read([]byte(`# A page: *with* ` + "`code`" + ` & more
[good](#a-page-with-code--more) [again](#twice-1) [file](page.go) <https://example.com/x>

## Twice
[gone](none.md)
[wrong](#a-page) ![picture](none.png)

## Twice
[out](../../../x) [root](/docs) [host](https://nowhere) [code](page.go#x)
`))
	p.Path = "test/docs/page.md"
	want := []string{
		"test/docs/page.md:5: link to none.md: no such file",
		"test/docs/page.md:6: link to #a-page: no such heading in test/docs/page.md",
		"test/docs/page.md:6: link to none.png: no such file",
		"test/docs/page.md:9: link to ../../../x: it is outside of the repository",
		"test/docs/page.md:9: link to /docs: write it from the page's folder",
		"test/docs/page.md:9: link to https://nowhere: it has no host",
		"test/docs/page.md:9: link to page.go#x: an anchor of what is no page",
	}
	if got := dead(p, []Page{p}, root); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
