package app

import (
	"fmt"
	"net/url"
	"time"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/redact"
	"github.com/kmend/kmend/report/llm"
)

// LLM says which language model writes summaries. docs/summary.md.
type LLM struct {
	Provider    string            `json:"provider" jsonschema:"enum=anthropic,enum=openai" jsonschema_description:"Whose API it has: anthropic, or openai for all that have the same (local servers, too)."`
	Model       string            `json:"model" jsonschema:"minLength=1,maxLength=200" jsonschema_description:"As the provider names it."`
	URL         string            `json:"url,omitempty" jsonschema_description:"Of the API; default the provider's own. http is for this machine only."`
	APIKeyFile  string            `json:"apiKeyFile,omitempty" jsonschema_description:"File of the API key. With provider openai it may be missing: a local server may want none."`
	Timeout     incident.Duration `json:"timeout,omitempty" jsonschema_description:"How long a summary may take, and a note in PagerDuty waits for it: 1s to 2m. Default 20s."`
	Temperature *float64          `json:"temperature,omitempty" jsonschema:"minimum=0,maximum=2" jsonschema_description:"Default: the model's own; many refuse to be told."`
	MaxTokens   int               `json:"maxTokens,omitempty" jsonschema:"minimum=100,maximum=100000" jsonschema_description:"Of one summary; default 1500. A model that thinks first needs more."`
	MaxTokensAs string            `json:"maxTokensAs,omitempty" jsonschema:"enum=max_completion_tokens,enum=max_tokens" jsonschema_description:"With provider openai: the name of the field that bounds the answer. Default max_completion_tokens; many local servers know max_tokens only."`
	Budget      LLMBudget         `json:"budget,omitempty"`
	Price       *LLMPrice         `json:"price,omitempty"`
	Judge       *LLMJudge         `json:"judge,omitempty"`
	Redact      []string          `json:"redact,omitempty" jsonschema:"maxItems=100" jsonschema_description:"Regular expressions (RE2) of what no model sees, beside the secrets and addresses that kmend knows."`
}

// LLMBudget is what all replicas together may spend in any hour.
type LLMBudget struct {
	Calls  int     `json:"calls,omitempty" jsonschema:"minimum=1,maximum=100000" jsonschema_description:"Default 60."`
	Tokens int     `json:"tokens,omitempty" jsonschema:"minimum=1,maximum=1000000000" jsonschema_description:"Read and written; default 500000."`
	Cost   float64 `json:"cost,omitempty" jsonschema:"minimum=0" jsonschema_description:"In the currency of price; default none."`
}

// LLMPrice is what a million tokens costs.
type LLMPrice struct {
	Input  float64 `json:"input" jsonschema:"minimum=0"`
	Cached float64 `json:"cached,omitempty" jsonschema:"minimum=0" jsonschema_description:"Of input that the provider had read before; default that of input."`
	Output float64 `json:"output" jsonschema:"minimum=0"`
}

// LLMJudge is a second call, which can withhold a summary.
type LLMJudge struct {
	Model    string   `json:"model" jsonschema:"minLength=1,maxLength=200" jsonschema_description:"Of the same provider."`
	MinScore *float64 `json:"minScore,omitempty" jsonschema:"minimum=0,maximum=1" jsonschema_description:"The least of groundedness, relevance and completeness; default 0.7."`
}

// resolve fills in what is left open.
func (l *LLM) resolve() []*string {
	d := llm.DefaultOptions()
	if l.URL == "" {
		l.URL = map[string]string{"anthropic": llm.AnthropicURL, "openai": llm.OpenAIURL}[l.Provider]
	}
	if l.Timeout == 0 {
		l.Timeout = incident.Duration(d.Timeout)
	}
	if l.MaxTokens == 0 {
		l.MaxTokens = d.MaxTokens
	}
	if l.Budget.Calls == 0 {
		l.Budget.Calls = d.Budget.Calls
	}
	if l.Budget.Tokens == 0 {
		l.Budget.Tokens = d.Budget.Tokens
	}
	if l.Price != nil && l.Price.Cached == 0 {
		l.Price.Cached = l.Price.Input
	}
	if l.Judge != nil && l.Judge.MinScore == nil {
		l.Judge.MinScore = &d.MinScore
	}
	return []*string{&l.APIKeyFile}
}

// checkLLM checks what a provider's answer would tell in the middle of an incident.
func (c Config) checkLLM(k *checker) {
	l := c.LLM
	if l == nil {
		return
	}
	u, err := url.Parse(l.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && !plainAllowed(u) {
		k.at("llm.url", "llm.url is no https URL without user and query, such as %s; http is for 127.0.0.1 only", llm.OpenAIURL)
	}
	switch {
	case l.APIKeyFile != "":
		k.secret("llm.apiKeyFile", l.APIKeyFile)
	case l.Provider == "anthropic":
		k.at("llm", "llm.apiKeyFile is missing; set it to a file with an API key of Anthropic's")
	}
	if l.Provider == "anthropic" && l.MaxTokensAs != "" {
		k.at("llm.maxTokensAs", "llm.maxTokensAs is for provider openai; remove it")
	}
	if t := l.Temperature; t != nil && l.Provider == "anthropic" && *t > 1 {
		k.at("llm.temperature", "llm.temperature is %g; with provider anthropic want 0 to 1", *t)
	}
	k.duration("llm.timeout", l.Timeout, time.Second, 2*time.Minute)
	if l.Budget.Cost > 0 && l.Price == nil {
		k.at("llm.budget.cost", "llm.budget.cost is set and llm.price is not: nothing would ever cost anything; set llm.price")
	}
	for i, p := range l.Redact {
		if _, err := redact.New([]string{p}); err != nil {
			k.at(fmt.Sprintf("llm.redact.%d", i), "llm.redact[%d]: %v", i, err)
		}
	}
}
