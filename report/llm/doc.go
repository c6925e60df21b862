// Package llm is a part of the end of the flow: it summarizes an incident in a
// few sentences that name their evidence, and decides what may be kept of a
// summary that a large language model wrote.
//
// Neither the model is trusted nor what it reads. It is to see a bounded and
// redacted packet of numbered facts. Of what it writes Check keeps those
// sentences alone that the facts they cite support, word for word and number for
// number; what it does not know it denies. BuiltIn says without a model what
// kmend itself knows. Nothing here reaches a plan or an action.
package llm
