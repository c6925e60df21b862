package kubernetes

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kmend/kmend/incident"
)

func TestEditOfAnObject(t *testing.T) {
	taint := path{"spec", "taints", item(map[string]string{"key": "a", "effect": "NoSchedule"})}
	weight := path{"spec", "rules", at(1), "backendRefs", item(map[string]string{"name": "x"}), "weight"}
	cases := []struct {
		name, object string
		f            field
		stands       standing
		patch        string // without metadata
		err          bool
	}{
		{"a field is set", `{"spec":{"a":1,"b":2}}`, literal(path{"spec", "a"}, 1, 3), asBefore, `{"spec":{"a":3}}`, false},
		{"numbers compare by value", `{"spec":{"a":3}}`, literal(path{"spec", "a"}, 1, 3.0), asWanted, `{}`, false},
		{"a field is made", `{}`, literal(path{"spec", "a", "b"}, nil, true), asBefore, `{"spec":{"a":{"b":true}}}`, false},
		{"a field is removed", `{"spec":{"a":1}}`, literal(path{"spec", "a"}, 1, nil), asBefore, `{"spec":{"a":null}}`, false},
		{"a map is replaced, what others added is gone", `{"spec":{"a":{"x":"1","y":"2"}}}`, literal(path{"spec", "a"}, map[string]any{"x": "1", "y": "2"}, map[string]any{"z": "3"}), asBefore, `{"spec":{"a":{"x":null,"y":null,"z":"3"}}}`, false},
		{"somebody changed it", `{"spec":{"a":2}}`, literal(path{"spec", "a"}, 1, 3), otherwise, `{"spec":{"a":3}}`, false},
		{"an item is added beside others", `{"spec":{"taints":[{"key":"b","effect":"NoSchedule"}]}}`, literal(taint, nil, map[string]any{"key": "a", "effect": "NoSchedule"}), asBefore,
			`{"spec":{"taints":[{"effect":"NoSchedule","key":"b"},{"effect":"NoSchedule","key":"a"}]}}`, false},
		{"an item is removed from beside others", `{"spec":{"taints":[{"key":"a","effect":"NoSchedule"},{"key":"b","effect":"NoSchedule"}]}}`, literal(taint, map[string]any{"key": "a", "effect": "NoSchedule"}, nil), asBefore,
			`{"spec":{"taints":[{"effect":"NoSchedule","key":"b"}]}}`, false},
		{"the last item goes", `{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}}`, literal(taint, map[string]any{"key": "a", "effect": "NoSchedule"}, nil), asBefore, `{"spec":{"taints":null}}`, false},
		{"an item of an item", `{"spec":{"rules":[{},{"backendRefs":[{"name":"y"},{"name":"x","weight":1}]}]}}`, literal(weight, 1, 2), asBefore,
			`{"spec":{"rules":[{},{"backendRefs":[{"name":"y"},{"name":"x","weight":2}]}]}}`, false},
		{"no such rule", `{"spec":{"rules":[{}]}}`, literal(weight, nil, 2), asBefore, "", true},
		{"a list that is no list", `{"spec":{"taints":"a"}}`, literal(taint, nil, map[string]any{}), asBefore, "", true},
		{"the whole object", `{"spec":{}}`, literal(path{}, nil, nil), otherwise, "", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := &unstructured.Unstructured{}
			if err := json.Unmarshal([]byte(c.object), &o.Object); err != nil {
				t.Fatal(err)
			}
			o.Object["kind"], o.Object["apiVersion"] = "Thing", "v1"
			e := edit{Fields: []field{c.f}}
			if s, what := e.stands(o); s != c.stands {
				t.Errorf("it stands %d (%s), want %d", s, what, c.stands)
			}
			before, _ := json.Marshal(o.Object)
			b, err := e.patch(o)
			if (err != nil) != c.err {
				t.Fatalf("error %v", err)
			}
			if after, _ := json.Marshal(o.Object); string(after) != string(before) {
				t.Errorf("the object that was read is %s now", after)
			}
			if c.err {
				return
			}
			var got map[string]any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			delete(got, "metadata")
			if b, _ = json.Marshal(got); string(b) != c.patch {
				t.Errorf("patch %s, want %s", b, c.patch)
			}
		})
	}
}

// What is told of a value never has what a pod template may hide.
func TestShort(t *testing.T) {
	secret := map[string]any{"env": []any{map[string]any{"name": "A", "value": "hunter2"}}, "z": strings.Repeat("z", 80)}
	for _, c := range []struct {
		v    any
		want string
	}{{nil, "not set"}, {3, "3"}, {"a", `"a"`}, {secret, "(127 bytes)"}, {strings.Repeat("x", 100), `"` + strings.Repeat("x", 76) + "..."}} {
		if got := short(c.v); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// A plan is stored and comes back; what is not one is refused.
func TestChangeIsRead(t *testing.T) {
	ch := change{Target: "t", Edits: []edit{{API: nodes, Kind: "Node", Name: "n", UID: "u", Fields: []field{literal(path{"spec", "unschedulable"}, nil, true)}}}}
	back, err := decodeChange(ch.encode())
	if err != nil || !same(back, ch) {
		t.Errorf("%+v %v", back, err)
	}
	for _, bad := range []string{"", "{", `{"target":"t","edits":[{"api":"v1/nodes","kind":"Node","name":"n"}]}`, `{"edits":[]}`, `{"target":"t","wait":"2h"}`} {
		if _, err := decodeChange(map[string]string{"change": bad}); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := of(incident.Target{Pod: "other"}, incident.Step{Preview: &incident.Preview{Apply: ch.encode()}}); err == nil {
		t.Error("the plan of another target was taken")
	}
}

func literal(p path, was, to any) field { return field{Path: p, Was: was, To: to} }
