package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/remediate/action"
)

// JobParams are the parameters of kubernetes.run_job.
type JobParams struct {
	CronJob   string `json:"cronJob" jsonschema:"minLength=1,maxLength=52" jsonschema_description:"Name of the CronJob whose template is run once. It may be suspended: then it is a template and nothing else."`
	Namespace string `json:"namespace,omitempty" jsonschema:"maxLength=63" jsonschema_description:"Its namespace. Without it: the target's."`
	Bounded
}

// runJob is kubernetes.run_job.
type runJob struct{ *cluster }

var _ action.Action = (*runJob)(nil)

// jobWait is how long a Job may run.
const jobWait = 10 * time.Minute

func (*runJob) Name() string       { return "kubernetes.run_job" }
func (*runJob) Params() any        { return &JobParams{} }
func (*runJob) Irreversible() bool { return true }

// Preview creates the Job as a dry run.
func (a *runJob) Preview(ctx context.Context, target incident.Target, with map[string]any) (incident.Preview, error) {
	var p JobParams
	if err := action.Decode(with, &p); err != nil {
		return incident.Preview{}, err
	}
	wait, err := p.within(jobWait)
	if err != nil {
		return incident.Preview{}, err
	}
	namespace, err := namespaceOf(target, p.Namespace)
	if err != nil {
		return incident.Preview{}, err
	}
	cron, o, err := read1[batchv1.CronJob](ctx, a.cluster, cronJobs, "CronJob", namespace, p.CronJob)
	if err != nil {
		return incident.Preview{}, err
	}
	// The name is the plan's, so that a crash between creating and recording it
	// does not run it twice.
	sum := sha256.Sum256(fmt.Append(nil, cron.UID, time.Now().UnixNano()))
	ch := change{
		Target: target.String(), Did: fmt.Sprintf("ran a Job from CronJob %s/%s", namespace, cron.Name), Wait: incident.Duration(wait),
		Notes: map[string]string{
			"namespace": namespace, "cronjob": cron.Name, "uid": string(cron.UID), "template": digest(cron.Spec.JobTemplate),
			"job": cron.Name[:min(len(cron.Name), 40)] + "-kmend-" + hex.EncodeToString(sum[:5]),
		},
		before: "not run", after: "complete",
	}
	if _, err := a.create(ctx, cron, ch, metav1.DryRunAll); err != nil {
		return incident.Preview{}, fmt.Errorf("asking the API server for a dry run of the Job: %w", err)
	}
	if _, err := a.job(ctx, ch); err != nil && !apierrors.IsNotFound(err) {
		return incident.Preview{}, err
	}
	if err := may(ctx, a.client, a.opts, announcing(namespace)); err != nil {
		return incident.Preview{}, err
	}
	ch.summary = fmt.Sprintf("run Job %s from CronJob %s/%s (%s) and wait up to %s; Kubernetes stops it after that", ch.Notes["job"], namespace, cron.Name, jobImages(cron), wait) + managed(o)
	return ch.preview(), nil
}

// Apply creates the Job, unless it is there, and waits until it is complete. A
// Job that fails or takes too long is an error; what it did until then is done.
func (a *runJob) Apply(ctx context.Context, target incident.Target, step incident.Step) (incident.Execution, error) {
	ch, err := of(target, step)
	if err != nil {
		return incident.Execution{}, err
	}
	if ch.Notes["job"] == "" || ch.Notes["uid"] == "" {
		return incident.Execution{}, errors.New("reading the preview: it names no Job")
	}
	did := incident.Execution{Before: step.Preview.Before, After: step.Preview.After, Result: "already applied", State: ch.encode()}
	// Kubernetes stops the Job at its own deadline; a little later there is its word for it.
	ctx, cancel := context.WithTimeout(ctx, ch.limit()+patience)
	defer cancel()
	sent := false
	var last error
	for poll := a.opts.Poll; ; poll = min(poll*3/2, 2*time.Second) {
		job, err := a.job(ctx, ch)
		if apierrors.IsNotFound(err) {
			job, err = a.start(ctx, ch)
			sent = sent || err == nil || maybeStored(err) && !errors.Is(err, errChanged)
		}
		if sent {
			did.Result = "applied"
		}
		switch {
		case err == nil && job.Annotations[fromPlan] != ch.Notes["uid"]:
			return incident.Execution{}, fmt.Errorf("job %s/%s is somebody else's: %w", job.Namespace, job.Name, errChanged)
		case err == nil && ended(job, batchv1.JobComplete) != nil:
			a.announceJob(ctx, &did, ch, job)
			return did, nil
		case err == nil && ended(job, batchv1.JobFailed) != nil:
			c := ended(job, batchv1.JobFailed)
			return did, fmt.Errorf("job %s/%s failed: %s: %s", job.Namespace, job.Name, c.Reason, c.Message)
		case err != nil && (errors.Is(err, errChanged) || !maybeStored(err) && !apierrors.IsTooManyRequests(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err)):
			return a.stopped(did, sent, err)
		case err != nil:
			last = err
		}
		if end := sleep(ctx, poll); end != nil {
			if last != nil {
				end = fmt.Errorf("%w (the last answer: %w)", end, last)
			}
			return a.stopped(did, sent, fmt.Errorf("job %s/%s is not complete after %s: %w", ch.Notes["namespace"], ch.Notes["job"], ch.limit(), end))
		}
	}
}

func (a *runJob) stopped(did incident.Execution, sent bool, err error) (incident.Execution, error) {
	if !sent {
		return incident.Execution{}, err
	}
	return did, err
}

// Undo is not possible: nobody knows what the Job did.
func (*runJob) Undo(context.Context, incident.Target, incident.Step, incident.Execution) (incident.Execution, error) {
	return incident.Execution{}, errors.New("what a Job did cannot be undone")
}

// fromPlan is the annotation of the Jobs made here: the uid of their CronJob.
const fromPlan = "kmend.dev/cronjob-uid"

// start creates the Job if the CronJob is still what the plan was made from.
func (a *runJob) start(ctx context.Context, ch change) (*batchv1.Job, error) {
	cron, _, err := read1[batchv1.CronJob](ctx, a.cluster, cronJobs, "CronJob", ch.Notes["namespace"], ch.Notes["cronjob"])
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: %w", err, errChanged)
	case err != nil:
		return nil, err
	case string(cron.UID) != ch.Notes["uid"] || digest(cron.Spec.JobTemplate) != ch.Notes["template"]:
		return nil, fmt.Errorf("CronJob %s/%s: %w", cron.Namespace, cron.Name, errChanged)
	}
	return a.create(ctx, cron, ch)
}

// create makes the Job as `kubectl create job --from` does, with a deadline.
func (a *runJob) create(ctx context.Context, cron *batchv1.CronJob, ch change, dryRun ...string) (*batchv1.Job, error) {
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: ch.Notes["job"], Namespace: cron.Namespace, Labels: cron.Spec.JobTemplate.Labels,
			Annotations: map[string]string{"cronjob.kubernetes.io/instantiate": "manual", fromPlan: string(cron.UID)},
			// Not as its controller: that would count it among the scheduled runs.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: cron.Name, UID: cron.UID}},
		},
		Spec: *cron.Spec.JobTemplate.Spec.DeepCopy(),
	}
	for k, v := range maps.All(cron.Spec.JobTemplate.Annotations) {
		if _, ours := job.Annotations[k]; !ours {
			job.Annotations[k] = v
		}
	}
	limit := int64(ch.limit().Seconds())
	if d := job.Spec.ActiveDeadlineSeconds; d == nil || *d > limit {
		job.Spec.ActiveDeadlineSeconds = &limit
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.Request)
	defer cancel()
	return a.client.BatchV1().Jobs(job.Namespace).Create(ctx, job, metav1.CreateOptions{DryRun: dryRun, FieldManager: a.opts.FieldManager})
}

func (a *runJob) job(ctx context.Context, ch change) (*batchv1.Job, error) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.Request)
	defer cancel()
	job, err := a.client.BatchV1().Jobs(ch.Notes["namespace"]).Get(ctx, ch.Notes["job"], metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Job %s/%s: %w", ch.Notes["namespace"], ch.Notes["job"], err)
	}
	return job, nil
}

func (a *runJob) announceJob(ctx context.Context, did *incident.Execution, ch change, job *batchv1.Job) {
	ch.Edits = []edit{{API: "batch/v1/jobs", Kind: "Job", Namespace: job.Namespace, Name: job.Name, UID: string(job.UID)}}
	a.tell(ctx, did, ch, corev1.EventTypeNormal, "Apply", "kmend "+ch.Did)
}

func ended(job *batchv1.Job, how batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range job.Status.Conditions {
		if c := &job.Status.Conditions[i]; c.Type == how && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // API types always marshal
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func jobImages(cron *batchv1.CronJob) string {
	var out []string
	for _, c := range cron.Spec.JobTemplate.Spec.Template.Spec.Containers {
		out = append(out, c.Image)
	}
	return strings.Join(out, ", ")
}
