package chart

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What no pod of any set of values has, and what the only one has that needs it.
func TestPodsAreConfined(t *testing.T) {
	for name, v := range sets(t) {
		pods := render(t, DefaultRelease(), v).pods()
		if len(pods) < 2 {
			t.Errorf("%s: pods %s", name, keys(pods))
		}
		for id, p := range pods {
			agent := strings.HasPrefix(id, "DaemonSet/")
			s := p.Spec
			if s.HostNetwork || s.HostIPC || s.HostPID != agent || s.EnableServiceLinks == nil || *s.EnableServiceLinks || len(s.InitContainers) > 0 || len(s.Containers) != 1 {
				t.Errorf("%s: %s: host network %v, IPC %v, PID %v, %d containers", name, id, s.HostNetwork, s.HostIPC, s.HostPID, len(s.Containers))
			}
			c := s.Containers[0]
			x := c.SecurityContext
			if x == nil || x.ReadOnlyRootFilesystem == nil || !*x.ReadOnlyRootFilesystem {
				t.Fatalf("%s: %s may write its root", name, id)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: %s has the resources %v", name, id, c.Resources)
			}
			for _, m := range c.VolumeMounts {
				if !m.ReadOnly && m.MountPath != "/tmp" && m.MountPath != "/var/lib/kmend" {
					t.Errorf("%s: %s may write %s", name, id, m.MountPath)
				}
			}
			for _, m := range c.VolumeMounts {
				if strings.HasPrefix(m.MountPath, "/sys") && (m.RecursiveReadOnly == nil || *m.RecursiveReadOnly != corev1.RecursiveReadOnlyIfPossible) {
					t.Errorf("%s: %s may write the mounts below %s", name, id, m.MountPath)
				}
			}
			for _, vol := range s.Volumes {
				if vol.HostPath != nil && (!agent || vol.HostPath.Path != "/sys/fs/cgroup") {
					t.Errorf("%s: %s mounts the host's %s", name, id, vol.HostPath.Path)
				}
			}
			if agent && name == "everything" {
				if x.Privileged == nil || !*x.Privileged {
					t.Errorf("%s: agent.privileged is not heeded", name)
				}
				continue
			}
			if x.Privileged == nil || *x.Privileged || x.AllowPrivilegeEscalation == nil || *x.AllowPrivilegeEscalation {
				t.Errorf("%s: %s is privileged", name, id)
			}
			if x.Capabilities == nil || !slices.Equal(x.Capabilities.Drop, []corev1.Capability{"ALL"}) || !agent && len(x.Capabilities.Add) > 0 {
				t.Errorf("%s: %s has the capabilities %v", name, id, x.Capabilities)
			}
			// docs/agents.md says what is lost without each.
			if needs := []corev1.Capability{"BPF", "PERFMON", "SYS_PTRACE", "SYSLOG", "DAC_READ_SEARCH"}; agent && !slices.Equal(x.Capabilities.Add, needs) {
				t.Errorf("%s: %s has the capabilities %s, needs %s", name, id, x.Capabilities.Add, needs)
			}
			if everywhere := []corev1.Toleration{{Operator: corev1.TolerationOpExists}}; agent && !slices.Equal(s.Tolerations, everywhere) {
				t.Errorf("%s: %s tolerates %v: some nodes have no agent", name, id, s.Tolerations)
			}
			if x.SeccompProfile == nil || x.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s: %s has the seccomp profile %v", name, id, x.SeccompProfile)
			}
			if !agent && (x.RunAsNonRoot == nil || !*x.RunAsNonRoot || x.RunAsUser == nil || *x.RunAsUser != 65532) {
				t.Errorf("%s: %s may be root", name, id)
			}
		}
	}
}

// kmend cannot read the key of the agents' certificate, nor the agents anything of kmend's.
func TestWhoReadsWhat(t *testing.T) {
	for name, v := range sets(t) {
		r := render(t, DefaultRelease(), v)
		certificate := r.certificate()
		for id, p := range r.pods() {
			var items []string
			for _, vol := range p.Spec.Volumes {
				if s := vol.Secret; s != nil && s.SecretName == certificate {
					items = append(items, paths(s.Items)...)
				}
				if vol.Projected == nil {
					continue
				}
				for _, src := range vol.Projected.Sources {
					if src.Secret != nil && src.Secret.Name == certificate {
						items = append(items, paths(src.Secret.Items)...)
					}
					if tok := src.ServiceAccountToken; tok != nil && tok.Audience != "kmend-agent" {
						t.Errorf("%s: %s has a token for %q", name, id, tok.Audience)
					}
				}
			}
			kind, _, _ := strings.Cut(id, "/")
			want := map[string][]string{"DaemonSet": {"tls.crt", "tls.key"}, "Deployment": {"ca.crt"}, "StatefulSet": {"ca.crt"}}[kind]
			if !slices.Equal(items, want) {
				t.Errorf("%s: %s mounts %q of the certificate, want %q", name, id, items, want)
			}
			if kind == "DaemonSet" && len(p.Spec.Volumes) != 2 {
				t.Errorf("%s: the agents mount %v", name, p.Spec.Volumes)
			}
		}
	}
}

// certificate is the Secret that the agents mount.
func (r rendered) certificate() string {
	r.t.Helper()
	for _, d := range all[*appsv1.DaemonSet](r) {
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.Secret != nil && v.Name == "tls" {
				return v.Secret.SecretName
			}
		}
	}
	r.t.Fatal("the agents have no certificate")
	return ""
}

// paths are the keys that are mounted; everything is "*".
func paths(items []corev1.KeyToPath) (out []string) {
	for _, i := range items {
		out = append(out, i.Key)
	}
	if out == nil {
		return []string{"*"}
	}
	return out
}

// A Service that is reached from outside the cluster lets in senders that are no pods.
func TestWhoReachesKmend(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "pods",
		`responder: {service: {type: LoadBalancer}}`: "all",
		`responder: {service: {type: NodePort}}`:     "all",
		`{responder: {service: {type: NodePort}}, networkPolicy: {responder: {from: [{ipBlock: {cidr: 192.0.2.0/24}}]}}}`: "192.0.2.0/24",
		`networkPolicy: {responder: {from: [{ipBlock: {cidr: 192.0.2.0/24}}]}}`:                                           "192.0.2.0/24",
	} {
		in := one[*networkingv1.NetworkPolicy](render(t, DefaultRelease(), values(t, text)), "kmend").Spec.Ingress
		if len(in) != 1 || len(in[0].Ports) != 1 || len(in[0].From) > 1 {
			t.Errorf("%s: %+v", text, in)
			continue
		}
		got := "all"
		for _, from := range in[0].From {
			switch {
			case from.IPBlock != nil:
				got = from.IPBlock.CIDR
			case from.NamespaceSelector != nil && from.PodSelector == nil && len(from.NamespaceSelector.MatchLabels) == 0:
				got = "pods"
			default:
				got = "others"
			}
		}
		if got != want {
			t.Errorf("%s: %s may reach kmend, want %s", text, got, want)
		}
	}
}

// Every pod is chosen by one NetworkPolicy that is for both directions; agents let kmend in and,
// where that is said, who scrapes them.
func TestNetworkPolicies(t *testing.T) {
	for name, v := range sets(t) {
		r := render(t, DefaultRelease(), v)
		policies := all[*networkingv1.NetworkPolicy](r)
		if name == "no-network-policies" {
			if len(policies) > 0 {
				t.Errorf("%s: %d policies", name, len(policies))
			}
			continue
		}
		pods := r.pods()
		for id, p := range pods {
			var of []*networkingv1.NetworkPolicy
			for _, n := range policies {
				if selects(n.Spec.PodSelector.MatchLabels, p.Labels) {
					of = append(of, n)
				}
			}
			if len(of) != 1 || len(of[0].Spec.PolicyTypes) != 2 {
				t.Errorf("%s: %s has %d policies", name, id, len(of))
				continue
			}
			n := of[0].Spec
			dns, api := false, false
			for _, e := range n.Egress {
				for _, port := range e.Ports {
					dns = dns || *port.Port == intstr.FromInt32(53) && len(e.To) == 0
					api = api || *port.Port == intstr.FromInt32(6443) && len(e.To) == 0
				}
			}
			if !dns || !api {
				t.Errorf("%s: %s reaches DNS %v, the API server %v", name, id, dns, api)
			}
			kind, _, _ := strings.Cut(id, "/")
			switch kind {
			case "DaemonSet":
				want := 1
				if name == "monitoring" {
					want = 2
				}
				if len(n.Ingress) != 1 || len(n.Ingress[0].From) != want || len(n.Egress) != 2 {
					t.Errorf("%s: the agents' policy is %+v", name, n)
					continue
				}
				for other, p := range pods {
					asks := strings.HasPrefix(other, "StatefulSet/") || strings.HasPrefix(other, "Deployment/")
					if from := n.Ingress[0].From[0]; from.NamespaceSelector != nil || selects(from.PodSelector.MatchLabels, p.Labels) != asks {
						t.Errorf("%s: whether %s may ask agents: %v", name, other, !asks)
					}
				}
			case "Job", "CronJob":
				if len(n.Ingress) != 0 || len(n.Egress) != 2 {
					t.Errorf("%s: the policy of %s is %+v", name, id, n)
				}
			default:
				if len(n.Ingress) != 1 || len(n.Ingress[0].From) != 1 {
					t.Errorf("%s: kmend's policy is %+v", name, n)
				}
			}
		}
	}
}
