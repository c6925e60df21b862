package chart

// switches are the values below actions: the actions on Kubernetes, and what
// template: true of the resizes needs.
var switches = []string{
	"cordon_node", "drain_node", "evict_pod", "label", "leave_service", "point_service", "raise_hpa_max", "resize_cpu",
	"resize_memory", "resize_template", "rollout_restart", "rollout_undo", "run_job", "scale", "set_config", "shift_traffic", "taint_node", "uncordon_node",
}
