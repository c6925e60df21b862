package document

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxFileBytes bounds one file.
const MaxFileBytes = 256 << 10

// maxNodes bounds one document with its aliases written out.
const maxNodes = 20_000

// Files finds the YAML files behind paths: a file is itself, a directory stands
// for the *.yaml and *.yml files directly in it, by name.
func Files(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, cause(err))
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, cause(err))
		}
		before := len(files)
		for _, entry := range entries { // sorted by name
			if ext := filepath.Ext(entry.Name()); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
				files = append(files, filepath.Join(path, entry.Name()))
			}
		}
		if len(files) == before {
			return nil, fmt.Errorf("reading %s: no .yaml or .yml file in this directory", path)
		}
	}
	return files, nil
}

// Read parses one file into its documents.
func Read(path string) ([]*Document, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, cause(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %s: not a regular file", path)
	}
	if info.Size() > MaxFileBytes {
		return nil, fmt.Errorf("reading %s: %d bytes; at most %d are read", path, info.Size(), MaxFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, cause(err))
	}
	return Parse(path, data)
}

func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// Parse splits data into its documents; file is the name that errors carry. A
// file that holds no document is an error.
func Parse(file string, data []byte) ([]*Document, error) {
	data = []byte(strings.TrimPrefix(strings.ReplaceAll(string(data), "\r\n", "\n"), "\uFEFF"))
	lines := strings.Split(string(data), "\n")
	blank := &Document{File: file, lines: lines}
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		var positioned yaml.Error
		if errors.As(err, &positioned) && positioned.GetToken() != nil {
			pos := positioned.GetToken().Position
			return nil, Errors{blank.errorf(Pos{pos.Line, pos.Column}, "%s", positioned.GetMessage())}
		}
		return nil, Errors{blank.errorf(Pos{}, "%v", err)}
	}
	var docs []*Document
	for _, d := range parsed.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType {
			continue
		}
		doc := &Document{File: file, lines: lines}
		c := converter{doc: doc, anchors: map[string]*Node{}}
		doc.Root = c.node(d.Body)
		if len(c.errs) > 0 {
			return nil, c.errs
		}
		docs = append(docs, doc)
	}
	if len(docs) == 0 {
		return nil, Errors{blank.errorf(Pos{}, "no YAML document in this file")}
	}
	return docs, nil
}

// converter makes Nodes of goccy's syntax tree.
type converter struct {
	doc     *Document
	anchors map[string]*Node
	errs    Errors
	nodes   int
}

func position(n ast.Node) Pos {
	pos := n.GetToken().Position
	return Pos{pos.Line, pos.Column}
}

func (c *converter) errorf(n ast.Node, format string, args ...any) *Node {
	c.errs = append(c.errs, c.doc.errorf(position(n), format, args...))
	return &Node{doc: c.doc, Pos: position(n)}
}

func (c *converter) node(n ast.Node) *Node {
	out := &Node{doc: c.doc, Pos: position(n)}
	switch v := n.(type) {
	case *ast.MappingNode:
		out.shape = mapping
		for _, pair := range v.Values {
			c.pair(out, pair)
		}
		if len(out.keys) > 0 {
			out.Pos = out.keys[0]
		}
	case *ast.MappingValueNode:
		out.shape = mapping
		c.pair(out, v)
		out.Pos = position(v.Key)
	case *ast.SequenceNode:
		out.shape = list
		for _, item := range v.Values {
			out.items = append(out.items, c.node(item))
		}
	case *ast.AnchorNode:
		value := c.node(v.Value)
		c.anchors[v.Name.GetToken().Value] = value
		return value
	case *ast.AliasNode:
		value, ok := c.anchors[v.Value.GetToken().Value]
		if !ok {
			return c.errorf(n, "alias *%s has no anchor &%s before it", v.Value.GetToken().Value, v.Value.GetToken().Value)
		}
		if c.nodes += value.size(); c.nodes > maxNodes {
			return c.errorf(n, "the document has more than %d values, with its aliases written out", maxNodes)
		}
		return value
	case *ast.LiteralNode:
		out.block = true
		out.Pos = Pos{v.Start.Position.Line, v.Start.Position.Column}
		out.value = v.Value.Value
	case *ast.NullNode:
	case *ast.TagNode:
		return c.errorf(n, "tag %s is not read here; write the plain value", v.Start.Value)
	case *ast.InfinityNode, *ast.NanNode:
		return c.errorf(n, "%s is not a finite number", n.GetToken().Value)
	case ast.ScalarNode:
		return c.scalar(out, v)
	default:
		return c.errorf(n, "%s is not read here", n.Type())
	}
	return out
}

func (c *converter) scalar(out *Node, n ast.ScalarNode) *Node {
	switch v := n.GetValue().(type) {
	case string:
		t := n.GetToken().Type
		out.quoted = t == token.SingleQuoteType || t == token.DoubleQuoteType
		out.value = v
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return c.errorf(n, "%s is not a finite number", n.GetToken().Value)
		}
		out.value = v
	case uint64:
		out.value = v
		if v <= math.MaxInt64 {
			out.value = int64(v)
		}
	case bool, int64:
		out.value = v
	default:
		return c.errorf(n, "%s is not read here", n.GetToken().Value)
	}
	return out
}

func (c *converter) pair(into *Node, pair *ast.MappingValueNode) {
	if pair.Key.IsMergeKey() {
		c.errorf(pair.Key, "the merge key << is not read here; write the fields out")
		return
	}
	name := pair.Key.GetToken().Value
	if slices.Contains(into.names, name) {
		c.errorf(pair.Key, "field %q is there twice", name)
		return
	}
	into.keys = append(into.keys, position(pair.Key))
	into.names = append(into.names, name)
	into.items = append(into.items, c.node(pair.Value))
}
