package kubernetes_test

import (
	"net/http"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/incident"
)

// cron is a suspended CronJob: a template.
func (s *stage) cron(name, image string) {
	s.Helper()
	spec := template(name, image)
	spec.Spec.RestartPolicy = corev1.RestartPolicyNever
	yes, none := true, int32(0)
	_, err := s.admin.BatchV1().CronJobs(s.namespace).Create(s.Context(), &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: batchv1.CronJobSpec{Schedule: "0 0 1 1 *", Suspend: &yes, JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{BackoffLimit: &none, Template: spec}}}}, metav1.CreateOptions{})
	s.must(err)
}

func (s *stage) jobs() int {
	l, err := s.admin.BatchV1().Jobs(s.namespace).List(s.Context(), metav1.ListOptions{})
	s.must(err)
	return len(l.Items)
}

func TestRunJob(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cron("clean", "job:done")
	target := incident.Target{Namespace: s.namespace}
	const name = "kubernetes.run_job"
	a := s.acting(s.as(""), name)
	with := map[string]any{"cronJob": "clean", "timeout": "30s"}
	step := s.planned(a, target, with)
	if s.jobs() != 0 {
		t.Fatal("the preview ran the job")
	}
	done, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result", done.Result+done.State["event"], "applied")
	again, err := a.Apply(t.Context(), target, step)
	s.must(err)
	s.is("result of a second Apply", again.Result, "already applied")
	if n := s.jobs(); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
	_, err = a.Undo(t.Context(), target, step, done)
	s.refusal(err, "cannot be undone")
	s.missesEachRight(name, target, with)

	// The answer to the creation is lost: it is found, and runs once.
	lost := false
	b := s.acting(intercepted(cluster(t), func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		answer, err := next.RoundTrip(r)
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/jobs") && !r.URL.Query().Has("dryRun") && err == nil && !lost {
			lost = true
			answer.Body.Close()
			return nil, errDown
		}
		return answer, err
	}), name)
	done, err = b.Apply(t.Context(), target, s.planned(b, target, with))
	s.must(err)
	s.is("result", done.Result, "applied")
	if n := s.jobs(); n != 2 || !lost {
		t.Errorf("%d jobs, want 2", n)
	}

	step = s.planned(a, target, with)
	s.merge("batch/v1/cronjobs", "clean", `{"spec":{"jobTemplate":{"spec":{"backoffLimit":3}}}}`)
	_, err = a.Apply(t.Context(), target, step)
	s.refusal(err, "somebody changed it since")
	if n := s.jobs(); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}

// A Job that fails, and one that never ends: Kubernetes itself stops it.
func TestJobsThatDoNotComplete(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cron("bad", "job:fails")
	s.cron("slow", "job:1")
	target := incident.Target{Namespace: s.namespace}
	a := s.acting(cluster(t), "kubernetes.run_job")
	x, err := a.Apply(t.Context(), target, s.planned(a, target, map[string]any{"cronJob": "bad"}))
	s.refusal(err, "BackoffLimitExceeded")
	s.is("result", x.Result, "applied")
	x, err = a.Apply(t.Context(), target, s.planned(a, target, map[string]any{"cronJob": "slow", "timeout": "2s"}))
	s.refusal(err, "DeadlineExceeded")
	s.is("result", x.Result, "applied")
}
