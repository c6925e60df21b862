package expr

import (
	"strings"
	"testing"

	"github.com/kmend/kmend/incident"
)

// Whatever an alert says stays one value of the document, and one part of the URL.
func TestQuoting(t *testing.T) {
	e := env(t)
	f := facts()
	f["alert"] = incident.Alert{Labels: map[string]string{"x": "a\",\n\"admin\": true, \"b\": \"</script>", "path": "../../x?y=1&z=ü #/"}}
	for text, want := range map[string]string{
		`{"x": ${json(alert.labels["x"])}}`:                 `{"x": "a\",\n\"admin\": true, \"b\": \"\u003c/script\u003e"}`,
		`${json(finding.share)} ${json(target.pid)}`:        `0.43 7`,
		`${json({"a": [1, true, null], "b": target.pod})} `: `{"a":[1,true,null],"b":""} `,
		`${json(alert.labels)}`:                             `{"path":"../../x?y=1\u0026z=ü #/","x":"a\",\n\"admin\": true, \"b\": \"\u003c/script\u003e"}`,
		`https://h/${urlpart(alert.labels["path"])}/z`:      `https://h/..%2F..%2Fx%3Fy%3D1%26z%3D%C3%BC%20%23%2F/z`,
	} {
		x, issues := e.Template(text)
		if issues != nil {
			t.Errorf("%s: %v", text, issues)
			continue
		}
		if got, err := x.Eval(f); err != nil || got != want {
			t.Errorf("%s = %v, %v; want %s", text, got, err, want)
		}
	}
	f["alert"] = incident.Alert{Labels: map[string]string{"x": strings.Repeat("x", maxQuoted)}}
	x, _ := e.Template(`${json(alert.labels["x"])}`)
	if _, err := x.Eval(f); err == nil || !strings.Contains(err.Error(), "more than 65536") {
		t.Errorf("a long text: %v", err)
	}
}
