package cgroups

import (
	"path/filepath"
	"slices"
)

// Bearing are the directories in the hierarchy of a controller (by its v1 name,
// "memory" or "blkio") whose limits bear on the target: its own, as Groups finds
// them, and those above, nearest first, each once. The root has no limits and is
// none of them.
func (n *Node) Bearing(controller string, dirs []string, pids []int) (Mount, []string, error) {
	m, ok := n.hierarchy(controller)
	if !ok {
		return Mount{}, nil, missing("no %s hierarchy is mounted", controller)
	}
	pids = slices.Clone(pids)
	var own []string
	for _, dir := range dirs {
		if _, ok := m.Path(dir); ok {
			own = append(own, dir)
			own = append(own, below(dir, maxDepth)...)
			continue
		}
		inDir, err := processes(dir)
		if err != nil {
			return m, nil, err
		}
		pids = append(pids, inDir...)
	}
	for _, pid := range pids {
		if dir, ok := n.groupOf(m, pid); ok {
			own = append(own, dir)
		}
	}
	slices.Sort(own)
	var out []string
	seen := map[string]bool{}
	for _, dir := range own {
		for ; len(dir) > len(m.Dir) && !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			out = append(out, dir)
		}
	}
	return m, out, nil
}
