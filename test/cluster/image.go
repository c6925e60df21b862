package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"
)

// file is one entry of a tar archive; a folder when its name ends in "/".
type file struct {
	name string
	mode fs.FileMode
	data []byte
}

// writeImage writes a "docker save" archive (for `ctr images import`) with one
// image that holds one static program and an empty /tmp. The same program gives
// the same bytes.
func writeImage(path, name, program, entrypoint string) error {
	bin, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	layer, err := tarOf(file{name: "tmp/", mode: 0o1777}, file{entrypoint, 0o755, bin})
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + entrypoint}, "Env": []string{"PATH=/"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": sum(config) + ".json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	all, err := tarOf(file{sum(config) + ".json", 0o644, config}, file{"layer.tar", 0o644, layer}, file{"manifest.json", 0o644, manifest})
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	if err := os.WriteFile(path, all, 0o644); err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	return nil
}

func tarOf(files ...file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: int64(f.mode), Size: int64(len(f.data)), ModTime: time.Unix(0, 0)}
		if f.name[len(f.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
