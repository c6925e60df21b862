package llm

import "github.com/kmend/kmend/internal/redact"

// Redactor takes secrets and addresses out of what a model is asked.
type Redactor = redact.Redactor
