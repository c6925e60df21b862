package incident

// Summary is an incident in a few sentences, each of which names what it rests on.
type Summary struct {
	// By is the model that wrote it; empty: kmend itself.
	By        string     `json:"by,omitempty"`
	Title     []Sentence `json:"title"`
	Impact    []Sentence `json:"impact"`
	RootCause []Sentence `json:"rootCause"`
	Done      []Sentence `json:"done"`
	FollowUps []Sentence `json:"followUps"`
}

// Sentence is one sentence of a Summary with the ids of the facts that it rests
// on: e1 is evidence of the diagnosis, f1 its first finding, x1 the first execution.
type Sentence struct {
	Text     string   `json:"text"`
	Evidence []string `json:"evidence"`
}

// Section is a part of a Summary, with the name it has in its JSON.
type Section struct {
	Name      string
	Sentences *[]Sentence
}

// Sections are the parts of s in the order in which they are read.
func (s *Summary) Sections() []Section {
	return []Section{
		{"title", &s.Title}, {"impact", &s.Impact}, {"rootCause", &s.RootCause}, {"done", &s.Done}, {"followUps", &s.FollowUps},
	}
}

// Len counts the sentences.
func (s Summary) Len() (n int) {
	for _, part := range s.Sections() {
		n += len(*part.Sentences)
	}
	return n
}
