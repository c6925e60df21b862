package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/diagnose/agent"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/test/server"
)

// tokenOf is a file with a new token of a service account, as the kubelet projects
// it; without audiences it is for the API server.
func tokenOf(t *testing.T, namespace, name string, audiences ...string) string {
	t.Helper()
	token, err := node.Client().CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name,
		&authentication.TokenRequest{Spec: authentication.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, filepath.Join(t.TempDir(), "token"), token.Status.Token)
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// credentials is a folder as a pod of the service account has it.
func credentials(t *testing.T, namespace, name string) string {
	t.Helper()
	token := tokenOf(t, namespace, name)
	ca, err := os.ReadFile(filepath.Join(node.state(), "certs", "apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(filepath.Dir(token), "ca.crt"), string(ca))
	return filepath.Dir(token)
}

// account makes a service account.
func account(t *testing.T, namespace, name string) {
	t.Helper()
	_, err := node.Client().CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// asks asks the agent for what it can, with the token in a file; "" for none.
func asks(t *testing.T, a server.Agent, tokenFile string) (*agent.Client, error) {
	t.Helper()
	o := agent.DefaultClientOptions()
	o.URL, o.CAFile, o.TokenFile, o.ServerName = a.URL, a.CAFile, tokenFile, a.ServerName
	c, err := agent.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	_, err = c.Capabilities(t.Context())
	return c, err
}

// refuses checks that a caller is refused, told why, and not told a token.
func refuses(t *testing.T, a server.Agent, tokenFile string, wants ...string) {
	t.Helper()
	_, err := asks(t, a, tokenFile)
	if !errors.Is(err, agent.ErrUnauthenticated) {
		t.Errorf("%v, want a refusal with %q", err, wants)
		return
	}
	t.Log(err)
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if tokenFile != "" {
		if token, _ := os.ReadFile(tokenFile); strings.Contains(err.Error(), string(token)) {
			t.Error("the token is in the error")
		}
	}
}

// A real API server says who asks: kmend's service account with a token for the
// agents, and nobody else.
func TestAgentKnowsWhoAsks(t *testing.T) {
	node.Need(t)
	grant(t)
	a := startAgent(t)
	if _, err := asks(t, a, tokenOf(t, "kmend", "kmend", "kmend-agent")); err != nil {
		t.Fatal(err)
	}
	account(t, "kmend", "other")
	account(t, "default", "kmend")
	account(t, "kmend", "gone")
	gone := tokenOf(t, "kmend", "gone", "kmend-agent")
	if err := node.Client().CoreV1().ServiceAccounts("kmend").Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	const audience = `not valid for the audience "kmend-agent"`
	refuses(t, a, "", "no bearer token", "serviceAccountToken of kmend/kmend", "agents.tokenFile")
	refuses(t, a, tokenOf(t, "kmend", "kmend"), audience, "https://kubernetes.default.svc", "agents.tokenFile")
	refuses(t, a, tokenOf(t, "kmend", "kmend", "kmend-agent-2"), audience, `"kmend-agent-2"`)
	refuses(t, a, tokenOf(t, "kmend", "other", "kmend-agent"), "system:serviceaccount:kmend:other", "only system:serviceaccount:kmend:kmend may ask")
	refuses(t, a, tokenOf(t, "default", "kmend", "kmend-agent"), "system:serviceaccount:default:kmend", "may ask")
	refuses(t, a, gone, audience, "gone")
	refuses(t, a, writeFile(t, filepath.Join(t.TempDir(), "t"), "nonsense"), audience)
	refuses(t, a, writeFile(t, filepath.Join(t.TempDir(), "t"), users()[0].token()), audience) // the admin's, who may do everything
	signed, err := os.ReadFile(tokenOf(t, "kmend", "kmend", "kmend-agent"))
	if err != nil {
		t.Fatal(err)
	}
	forged := string(signed[:strings.LastIndexByte(string(signed), '.')+1]) + strings.Repeat("A", 342) // RS256
	refuses(t, a, writeFile(t, filepath.Join(t.TempDir(), "t"), forged), audience)
}

// A token that the kubelet replaces is the new one at the next question.
func TestCallersTokenChanges(t *testing.T) {
	node.Need(t)
	grant(t)
	account(t, "kmend", "second")
	a := startAgent(t, "--caller=kmend/second")
	file := tokenOf(t, "kmend", "second", "kmend-agent")
	c, err := asks(t, a, file)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, a, tokenOf(t, "kmend", "kmend", "kmend-agent"), "only system:serviceaccount:kmend:second may ask")
	next := tokenOf(t, "kmend", "second", "kmend-agent")
	if err := os.Rename(tokenOf(t, "kmend", "second"), file); err != nil { // for the API server: as if it was the wrong file
		t.Fatal(err)
	}
	if _, err := c.Capabilities(t.Context()); !errors.Is(err, agent.ErrUnauthenticated) {
		t.Errorf("with another token in the file: %v", err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Capabilities(t.Context()); err != nil {
		t.Errorf("with a new token in the file: %v", err)
	}
}

// An agent that may not review tokens lets nobody in, and says what to grant.
func TestAgentWithoutRights(t *testing.T) {
	node.Need(t)
	grant(t)
	account(t, "kmend", "powerless")
	a := startAgent(t, "--api-credentials="+credentials(t, "kmend", "powerless"))
	refuses(t, a, tokenOf(t, "kmend", "kmend", "kmend-agent"), "create tokenreviews", "kubectl apply -f deploy/rbac/kmend-agent.yaml",
		"system:serviceaccount:kmend:powerless", "until then nobody is let in")
}

// An agent answers for its own node: a target that is said to be on another, and a
// pod that does not run here, whatever it is said.
func TestAgentAnswersForItsNodeOnly(t *testing.T) {
	node.Need(t)
	grant(t)
	answersForItsNodeOnly(t, startAgent(t))
}

func answersForItsNodeOnly(t *testing.T, a server.Agent) {
	c, err := asks(t, a, a.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	pod := node.Run(t, Burn{Name: "here"})
	here := located(pod)
	if _, err := c.Measure(t.Context(), agent.Request{Target: here, Window: 200 * time.Millisecond}, nil); err != nil {
		t.Fatal(err)
	}
	there, absent := here, here
	there.Node = "node-2"
	absent.Pod, absent.PodUID, absent.ContainerID = "absent", "11111111-2222-3333-4444-555555555555", strings.Repeat("1", 64)
	for want, target := range map[string]incident.Target{
		`on node "node-2", and this is the agent of node "` + NodeName + `"`: there,
		"11111111-2222-3333-4444-555555555555":                               absent,
	} {
		_, err := c.Measure(t.Context(), agent.Request{Target: target, Window: 200 * time.Millisecond}, nil)
		if !errors.Is(err, agent.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", target, err, want)
		}
		t.Log(err)
	}
}

// located is a pod's one container as kmend tells it to an agent, after it asked the API.
func located(pod *corev1.Pod) incident.Target {
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	return incident.Target{Node: NodeName, Namespace: pod.Namespace, Pod: pod.Name, PodUID: string(pod.UID), Container: pod.Name, ContainerID: id}
}
