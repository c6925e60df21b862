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

// image is one with a static program at its root.
type image struct {
	name       string // with its tag
	program    string // path here
	entrypoint string // path there, without the first slash
	user       string // "" is root
	cmd        []string
	env        []string
	tmp        bool // an empty /tmp beside it
}

// writeImage writes a "docker save" archive (for `ctr images import`) with one
// image. The same program gives the same bytes.
func writeImage(path string, img image) error {
	name := img.name
	bin, err := os.ReadFile(img.program)
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	files := []file{{img.entrypoint, 0o755, bin}}
	if img.tmp {
		files = append(files, file{name: "tmp/", mode: 0o1777})
	}
	layer, err := tarOf(files...)
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + img.entrypoint}, "Cmd": img.cmd, "User": img.user, "Env": img.env},
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
