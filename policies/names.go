package policies

// Names are the policies' names, in the order in which they were loaded.
func (s *Set) Names() []string {
	names := make([]string, len(s.policies))
	for i, p := range s.policies {
		names[i] = p.Metadata.Name
	}
	return names
}
