package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fromDockerfile is the image that deploy/image/PROGRAM.Dockerfile describes: its
// user, its environment, its entry point and its arguments, and the program, which is all that is in it
// but the SBOM.
func fromDockerfile(name, program, built string) (image, error) {
	path := filepath.Join(sourceDir(), "..", "..", "deploy", "image", program+".Dockerfile")
	text, err := os.ReadFile(path)
	if err != nil {
		return image{}, fmt.Errorf("reading what an image is made of: %w", err)
	}
	img := image{name: name, program: built}
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var list []string
		if word == "ENTRYPOINT" || word == "CMD" {
			if err := json.Unmarshal([]byte(rest), &list); err != nil {
				return image{}, fmt.Errorf("reading %s: %s: %w", path, word, err)
			}
		}
		switch word {
		case "FROM":
			if rest != "scratch" {
				return image{}, fmt.Errorf("reading %s: it is made from %s, and this makes images from scratch only", path, rest)
			}
		case "USER":
			img.user = rest
		case "ENTRYPOINT":
			img.entrypoint = strings.TrimPrefix(strings.Join(list, " "), "/")
		case "ENV":
			img.env = append(img.env, rest)
		case "CMD":
			img.cmd = list
		}
	}
	if img.user == "" || img.entrypoint == "" {
		return image{}, fmt.Errorf("reading %s: it has no USER or no ENTRYPOINT", path)
	}
	return img, nil
}
