package release

import (
	"encoding/json"
	"strings"
	"testing"
)

// layout is the folder of an OCI image layout (opencontainers/image-spec, v1).
type layout string

type index struct {
	Manifests []struct {
		Digest   string
		Platform struct{ OS, Architecture string }
	}
}

type image struct {
	config struct {
		OS, Architecture string
		Config           struct {
			User                 string
			Entrypoint, Cmd, Env []string
			ExposedPorts         map[string]any
			Labels               map[string]string
		}
	}
	files map[string][]byte // of all layers, by path
}

func (l layout) image(t *testing.T, digest string) image {
	t.Helper()
	type descriptor struct{ Digest string }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	l.json(t, blob(digest), &manifest)
	i := image{files: map[string][]byte{}}
	l.json(t, blob(manifest.Config.Digest), &i.config)
	for _, layer := range manifest.Layers {
		gunzipped(t, read(t, string(l), blob(layer.Digest)), i.files)
	}
	return i
}

func (l layout) json(t *testing.T, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(read(t, string(l), name), into); err != nil {
		t.Fatalf("%s/%s: %v", l, name, err)
	}
}

func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }
