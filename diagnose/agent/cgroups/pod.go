package cgroups

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

var podWord = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// Pod finds the directory of a pod in the cpu hierarchy, or that of one of its
// containers if containerID is given. The kubelet's names, below any cgroupRoot:
//
//	cgroupfs  kubepods[/burstable|/besteffort]/podUID/ID
//	systemd   kubepods.slice[/kubepods-burstable.slice]/kubepods[-burstable]-podU_I_D.slice/cri-containerd-ID.scope
func (n *Node) Pod(uid, containerID string) (string, error) {
	if !podWord.MatchString(uid) {
		return "", fmt.Errorf("pod UID %q is none", uid)
	}
	m, ok := n.CPU()
	if !ok {
		return "", missing("pod %s: no cpu hierarchy is mounted", uid)
	}
	pods := find(m.Dir, maxDepth, func(dir string) bool { return isPod(dir, uid) })
	if len(pods) == 0 {
		return "", missing("pod with UID %s has no cgroup below %s: it does not run on this node", uid, m.Dir)
	}
	if containerID == "" {
		return pods[0], nil
	}
	if _, id, ok := strings.Cut(containerID, "://"); ok {
		containerID = id
	}
	if !podWord.MatchString(containerID) {
		return "", fmt.Errorf("container id %q is none", containerID)
	}
	for _, pod := range pods {
		if c := find(pod, 2, func(dir string) bool { return isContainer(dir, containerID) }); len(c) > 0 {
			return c[0], nil
		}
	}
	return "", missing("container %.12s has no cgroup below %s: it has ended", containerID, pods[0])
}

func isPod(dir, uid string) bool {
	base := filepath.Base(dir)
	if base != "pod"+uid && !strings.HasSuffix(base, "-pod"+strings.ReplaceAll(uid, "-", "_")+".slice") {
		return false
	}
	return strings.Contains(filepath.Dir(dir), "kubepods")
}

func isContainer(dir, id string) bool {
	base := filepath.Base(dir)
	if base == id {
		return true
	}
	runtime, ok := strings.CutSuffix(base, "-"+id+".scope")
	return ok && !strings.HasSuffix(runtime, "conmon") // CRI-O's monitor of the container
}
