package expr

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/types/known/structpb"
)

// maxQuoted bounds what json and urlpart give, in bytes.
const maxQuoted = 64 << 10

// jsonFunction is json(value): the value as JSON, a text with its quotes. What
// somebody else wrote stays one value of the document that it is put into.
func jsonFunction() cel.EnvOption {
	return cel.Function("json", cel.Overload("json_dyn", []*cel.Type{cel.DynType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			plain := v.Value()
			switch v.Type() {
			case types.MapType, types.ListType:
				native, err := v.ConvertToNative(reflect.TypeFor[*structpb.Value]())
				if err != nil {
					return types.NewErr("json: %v", err)
				}
				plain = native.(*structpb.Value).AsInterface()
			case types.NullType:
				plain = nil
			}
			b, err := json.Marshal(plain)
			if err != nil {
				return types.NewErr("json: %v", err)
			}
			return bounded("json", string(b))
		})))
}

// urlpartFunction is urlpart(text): the text as one part of a URL's path or
// query; a slash, a question mark and the like in it lose their meaning.
func urlpartFunction() cel.EnvOption {
	return cel.Function("urlpart", cel.Overload("urlpart_string", []*cel.Type{cel.StringType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			text, ok := v.Value().(string)
			if !ok {
				return types.MaybeNoSuchOverloadErr(v)
			}
			return bounded("urlpart", strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
		})))
}

func bounded(name, s string) ref.Val {
	if len(s) > maxQuoted {
		return types.NewErrFromString(fmt.Sprintf("%s: %d bytes, more than %d", name, len(s), maxQuoted))
	}
	return types.String(s)
}
