package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// edit is a change of some fields of one object, as data: what they were and
// what they shall be. Whether it is done already, whether somebody changed the
// fields since, its patch and its undoing all follow from that, for every action.
type edit struct {
	API       string  `json:"api"` // "apps/v1/deployments", "v1/nodes"
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace,omitempty"` // "" for nodes
	Name      string  `json:"name"`
	UID       string  `json:"uid"`
	Sub       string  `json:"sub,omitempty"` // the subresource that the patch goes to: "scale", "resize"
	Fields    []field `json:"fields"`
}

// field is one field of an object. A nil Was or To means that it is not there;
// the same in both is a precondition and no change. With WasIn and ToIn the field
// is a pod template: its values are not here but where the cluster keeps them.
type field struct {
	Path  path      `json:"path"`
	Was   any       `json:"was"`
	To    any       `json:"to"`
	WasIn *revision `json:"wasIn,omitempty"`
	ToIn  *revision `json:"toIn,omitempty"`
}

// holds compares a value with what the field was and shall be.
func (f field) holds(now any) (was, to bool) {
	if f.ToIn != nil {
		d := digest(plain(now))
		return d == f.WasIn.Digest, d == f.ToIn.Digest
	}
	return same(now, f.Was), same(now, f.To)
}

// before is what the field was, for people.
func (f field) before() string {
	if f.WasIn != nil {
		return f.WasIn.String()
	}
	return short(f.Was)
}

// standing is how an object stands to an edit.
type standing int

const (
	asBefore standing = iota
	asWanted
	otherwise // somebody changed it
)

// stands compares an object with what its fields were and shall be. what names
// the first field that is neither.
func (e edit) stands(o *unstructured.Unstructured) (s standing, what string) {
	was, to := true, true
	for _, f := range e.Fields {
		now := f.Path.get(o.Object)
		w, t := f.holds(now)
		if !w && !t {
			return otherwise, fmt.Sprintf("%s is %s and was %s", f.Path, short(now), f.before())
		}
		was, to = was && w, to && t
	}
	switch {
	case to:
		return asWanted, ""
	case was:
		return asBefore, ""
	}
	return otherwise, "only some of the fields are as they were"
}

// patch is the JSON merge patch that brings o to the edit, bound to the uid and
// the resourceVersion of o. A list is written whole, which the binding makes safe.
func (e edit) patch(o *unstructured.Unstructured) ([]byte, error) {
	wanted := o.DeepCopy()
	for _, f := range e.Fields {
		if err := f.Path.set(wanted.Object, f.To); err != nil {
			return nil, err
		}
	}
	before, err := o.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("writing the object: %w", err)
	}
	after, err := wanted.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("writing the object: %w", err)
	}
	raw, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return nil, fmt.Errorf("comparing the object: %w", err)
	}
	var body map[string]any
	if err := json.Unmarshal(raw, &body); err != nil {
		return nil, fmt.Errorf("reading the patch: %w", err)
	}
	meta, _ := body["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		body["metadata"] = meta
	}
	meta["uid"], meta["resourceVersion"] = string(o.GetUID()), o.GetResourceVersion()
	return json.Marshal(body)
}

// back is the edit that undoes e.
func (e edit) back() edit {
	fields := make([]field, len(e.Fields))
	for i, f := range e.Fields {
		fields[i] = field{f.Path, f.To, f.Was, f.ToIn, f.WasIn}
	}
	e.Fields = fields
	return e
}

// resource is the API's name for the objects that e edits.
func (e edit) resource() schema.GroupVersionResource { return parseAPI(e.API) }

// validate refuses data that did not come from this program: without a uid or
// a field an edit is bound to nothing.
func (e edit) validate() error {
	if e.Kind == "" || e.Name == "" || e.UID == "" || len(e.Fields) == 0 || e.resource().Resource == "" {
		return errors.New("it names no object, uid or field")
	}
	for _, f := range e.Fields {
		if (f.WasIn == nil) != (f.ToIn == nil) {
			return fmt.Errorf("field %s has one revision, not two", f.Path)
		}
	}
	return nil
}

func (e edit) String() string { return objectName(e.Kind, e.Namespace, e.Name) }

// edited begins the edit of an object that was read.
func edited(api string, o *unstructured.Unstructured, fields ...field) edit {
	return edit{API: api, Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID()), Fields: fields}
}

// to is the field at p of o, which shall become value.
func to(o *unstructured.Unstructured, value any, p ...string) field {
	return field{Path: p, Was: path(p).get(o.Object), To: value}
}

// parseAPI reads "apps/v1/deployments" and "v1/nodes".
func parseAPI(s string) schema.GroupVersionResource {
	parts := strings.Split(s, "/")
	switch len(parts) {
	case 2:
		return schema.GroupVersionResource{Version: parts[0], Resource: parts[1]}
	case 3:
		return schema.GroupVersionResource{Group: parts[0], Version: parts[1], Resource: parts[2]}
	}
	return schema.GroupVersionResource{}
}

// same compares two values by their JSON: 2 is 2, whatever Go holds it in.
func same(a, b any) bool {
	ja, errA := json.Marshal(a)
	jb, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(ja, jb)
}

// short is a value for people. Long texts are cut; of a long map or list only
// the size is told: a pod template may have passwords in its environment.
func short(v any) string {
	b, err := json.Marshal(v)
	_, text := v.(string)
	switch {
	case v == nil || err != nil:
		return "not set"
	case len(b) > 80 && !text:
		return fmt.Sprintf("(%d bytes)", len(b))
	case len(b) > 80:
		return strings.ToValidUTF8(string(b[:77]), "") + "..."
	}
	return string(b)
}

func objectName(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}
