package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/test/process"
)

// start brings the node up: Ready in the sense of Kubernetes, with the default
// service account there, so that a pod can be made at once.
func (n *Node) start(ctx context.Context, t testing.TB) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, fmt.Errorf("the node is not Ready after 2 minutes"))
	defer cancel()
	if err := n.writeConfig(); err != nil {
		return err
	}
	const etcd, etcdPeer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	if _, err := n.serve("etcd", "--data-dir="+n.state()+"/etcd", "--unsafe-no-fsync",
		"--listen-client-urls="+etcd, "--advertise-client-urls="+etcd, "--listen-peer-urls="+etcdPeer,
		"--initial-advertise-peer-urls="+etcdPeer, "--initial-cluster=default="+etcdPeer,
		"--heartbeat-interval=50", "--election-timeout=500"); err != nil {
		return err
	}
	saKey := n.state() + "/conf/sa.key"
	api, err := n.serve("kube-apiserver", "--etcd-servers="+etcd, "--bind-address=0.0.0.0", "--advertise-address="+nodeIP, "--secure-port="+apiPort,
		"--cert-dir="+n.state()+"/certs", "--token-auth-file="+n.state()+"/conf/tokens.csv",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+saKey, "--service-account-signing-key-file="+saKey,
		"--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP,Hostname")
	if err != nil {
		return err
	}
	containerd, err := n.run("containerd", "containerd", "--config="+n.state()+"/conf/containerd.toml")
	if err != nil {
		return err
	}
	images := make(chan error, 1)
	go func() { images <- n.importImages(ctx, containerd) }()
	if err := api.WaitFor(ctx, apiReady); err != nil {
		return err
	}
	t.Logf("node: API ready after %.1f s", time.Since(began).Seconds())
	if err := n.serveAPI(ctx); err != nil {
		return err
	}
	if err := n.serveControllers(saKey); err != nil {
		return err
	}
	if err := <-images; err != nil {
		return err
	}
	kubelet, err := n.serve("kubelet", "--config="+n.state()+"/conf/kubelet.yaml", "--kubeconfig="+n.kubeconfig("system:node:"+NodeName),
		"--hostname-override="+NodeName, "--node-ip="+nodeIP, "--root-dir="+n.state()+"/kubelet", "--cert-dir="+n.state()+"/kubelet/pki",
		"--containerd="+criSocket, "--housekeeping_interval=2s") // for cAdvisor's metrics of containers
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", n.kubeconfig("admin"))
	if err != nil {
		return fmt.Errorf("reading the admin's kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 1000, 1000
	if n.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	if err := kubelet.WaitFor(ctx, n.ready); err != nil {
		return err
	}
	t.Logf("node: Ready after %.1f s", time.Since(began).Seconds())
	return nil
}

func (n *Node) serveControllers(saKey string) error {
	kcm := n.kubeconfig("system:kube-controller-manager")
	if _, err := n.serve("kube-controller-manager", "--kubeconfig="+kcm, "--bind-address=127.0.0.1", "--leader-elect=false",
		"--service-account-private-key-file="+saKey, "--root-ca-file="+n.state()+"/certs/apiserver.crt", "--use-service-account-credentials=true",
		"--kube-api-qps=1000", "--kube-api-burst=2000", "--cert-dir="+n.state()+"/kcm-certs"); err != nil {
		return err
	}
	_, err := n.serve("kube-scheduler", "--kubeconfig="+n.kubeconfig("system:kube-scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false",
		"--kube-api-qps=1000", "--kube-api-burst=2000", "--cert-dir="+n.state()+"/scheduler-certs")
	return err
}

// serve starts one component of kubeone.
func (n *Node) serve(component string, args ...string) (*process.Process, error) {
	return n.run(component, n.files.Kubeone, append([]string{component}, args...)...)
}

// run starts a server that lives until stop.
func (n *Node) run(name, program string, args ...string) (*process.Process, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	log, err := n.logFile(name)
	if err != nil {
		return nil, err
	}
	p, err := process.Start(process.Spec{Name: name, Path: path, Args: args, Dir: n.state(), Log: log})
	if err != nil {
		return nil, err
	}
	n.servers = append(n.servers, p)
	return p, nil
}

func (n *Node) importImages(ctx context.Context, containerd *process.Process) error {
	if err := containerd.WaitFor(ctx, func(ctx context.Context) error { return ctr(ctx, "version") }); err != nil {
		return err
	}
	for _, image := range n.files.Images {
		if err := ctr(ctx, "images", "import", image); err != nil {
			return fmt.Errorf("importing %s: %w", filepath.Base(image), err)
		}
	}
	return nil
}

// ctr tells containerd something about what the kubelet sees of it.
func ctr(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"--address=" + criSocket, "--namespace=k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", args[0], err, tail(string(out), 3))
	}
	return nil
}

// apiReady asks /readyz without knowing the server's certificate, which it
// makes itself while it starts.
func apiReady(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost:"+apiPort+"/readyz", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+users()[0].token())
	c := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /readyz: %s", res.Status)
	}
	return nil
}

// ready says what is still missing for a pod to be made.
func (n *Node) ready(ctx context.Context) error {
	node, err := n.client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Errorf("node not Ready: %s: %s", c.Reason, c.Message)
		}
	}
	if _, err := n.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
		return err
	}
	_, err = n.client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	return err
}
