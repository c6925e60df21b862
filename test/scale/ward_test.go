package scale

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/test/throttled"
)

// The limits of a patient, in thousandths of a CPU: as it comes, and as the runbook
// that ships raises it.
const (
	throttledAt = 200
	raised      = 400
)

// hospital is the namespace of the patients.
const hospital = "team-0000"

// ward has one patient after the other until it is over: a pod with a real workload
// that its limit throttles, and an alert about it.
func (s *soak) ward(number int, over <-chan struct{}) {
	// Of its own: what happens here depends on how long things take.
	luck := rand.New(rand.NewPCG(s.seed, uint64(number)+1))
	for n := 0; ; n++ {
		select {
		case <-over:
			return
		default:
		}
		if s.Failed() {
			return
		}
		if err := s.treat(luck, fmt.Sprintf("patient-%d-%04d", number, n), n%len(s.agents)); err != nil {
			s.Error(err)
			return
		}
	}
}

// treat makes a patient and waits until its incident has ended.
func (s *soak) treat(luck *rand.Rand, name string, node int) error {
	spec := podSpec("200m", nodeName(node))
	spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("100m")
	var pod *corev1.Pod
	err := s.again("making a pod", func() (err error) {
		pod, err = s.admin.CoreV1().Pods(hospital).Create(s.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	work := throttled.DefaultOptions()
	work.Name = filepath.Join(s.pods, "pod"+string(pod.UID))
	w, err := throttled.Start(s.Context(), work)
	if err != nil {
		return err
	}
	defer func() {
		if err := w.Close(); err != nil {
			s.Error(err)
		}
	}()
	err = s.again("waiting for the pod to run", func() error {
		if p := s.patient(name); p.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("%s is %s", name, p.Status.Phase)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.patients = append(s.patients, patient{name, pod.UID})
	s.mu.Unlock()
	body := alertAbout(name)
	for times := 1 + luck.IntN(2); times > 0; times-- { // Alertmanagers in pairs send twice
		err = s.again("sending an alert", func() error {
			status, answer, err := s.replica(luck.IntN(len(s.replicas))).Deliver(s.Context(), body)
			if err == nil && status/100 != 2 {
				err = fmt.Errorf("%d %s", status, answer)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.nurse(name, w)
}

// nurse does what the kubelet would, the limit of the pod is the quota of its cgroup,
// until the pod's incident has ended.
func (s *soak) nurse(name string, w *throttled.Workload) error {
	quota := int64(throttledAt)
	asked := time.Now()
	for until := asked.Add(5 * time.Minute); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if pod, err := s.admin.CoreV1().Pods(hospital).Get(s.Context(), name, metav1.GetOptions{}); err == nil {
			if limit := pod.Spec.Containers[0].Resources.Limits.Cpu().MilliValue(); limit != quota {
				if err := w.SetQuota(float64(limit) / 1000); err != nil {
					return err
				}
				quota = limit
			}
		}
		if time.Since(asked) < time.Second {
			continue // the answer is long, and its writing is not to be what the replica takes
		}
		asked = time.Now()
		list, err := s.replica(0).Incidents(s.Context())
		if err != nil {
			list, err = s.replica(1).Incidents(s.Context())
		}
		for _, inc := range list {
			if err == nil && inc.Target.Pod == name && inc.Phase.Closed() {
				return nil
			}
		}
	}
	return fmt.Errorf("%s: no incident of it has ended in 5 minutes", name)
}

// again tries until it works, as everybody does who needs something that is away.
func (s *soak) again(what string, do func() error) (err error) {
	for until := time.Now().Add(2 * time.Minute); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		if err = do(); err == nil || s.Failed() {
			return err
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// wards makes the cgroup of all pods, which comes before everything else on the
// machine, as its patients do in it: a busy machine does not change the answer.
func (s *soak) wards() {
	s.Helper()
	pods, err := throttled.NewCgroup(fmt.Sprintf("kmend-soak-%d-kubepods", os.Getpid()))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := pods.Close(); err != nil {
			s.Error(err)
		}
	})
	if err := pods.First(); err != nil {
		s.Fatal(err)
	}
	// On v2 the controller is given to those below.
	if control := filepath.Join(pods.Path, "cgroup.subtree_control"); exists(control) {
		if err := os.WriteFile(control, []byte("+cpu"), 0o644); err != nil {
			s.Fatal(err)
		}
	}
	s.pods = filepath.Base(pods.Path)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func (s *soak) patient(name string) *corev1.Pod {
	var pod *corev1.Pod
	err := s.again("reading a pod", func() (err error) {
		pod, err = s.admin.CoreV1().Pods(hospital).Get(s.Context(), name, metav1.GetOptions{})
		return err
	})
	if err != nil {
		s.Error(err)
		return &corev1.Pod{Spec: podSpec("0", "")}
	}
	return pod
}

// alertAbout names the pod and no container: the cgroup is the pod's.
func alertAbout(pod string) []byte {
	b, _ := json.Marshal(map[string]any{"version": "4", "groupKey": fmt.Sprintf(`{}:{pod=%q}`, pod), "status": "firing", "receiver": "kmend",
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{}, "externalURL": "http://am",
		"alerts": []any{map[string]any{"status": "firing", "fingerprint": fmt.Sprintf("%016x", len(pod)), "startsAt": time.Now(),
			"labels": map[string]string{"alertname": "CPUThrottlingHigh", "namespace": hospital, "pod": pod}}}})
	return b // maps and strings always marshal
}
