package tokenreview

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// keepLetIn is for how long a token that was taken away still opens: the time
	// that kmend's questions of one incident take.
	keepLetIn   = 30 * time.Second
	keepRefused = 10 * time.Second
	// maxKept bounds each of the two caches: kmend has a token a replica, and a
	// rotated one beside it.
	maxKept = 128
)

type key [sha256.Size]byte

// cache keeps answers by the token's hash for a while. When it is full further
// answers are not kept, rather than others thrown out: who presents many tokens
// makes nobody else's forgotten.
type cache struct {
	keep time.Duration

	mu   sync.Mutex
	kept map[key]answer
}

type answer struct {
	err   error // why the token was refused; nil: it was let in
	until time.Time
}

func newCache(keep time.Duration) *cache { return &cache{keep: keep, kept: map[key]answer{}} }

func (c *cache) get(k key, now time.Time) (a answer, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok = c.kept[k]
	return a, ok && now.Before(a.until)
}

// put keeps an answer to a question that was asked at that time.
func (c *cache) put(k key, err error, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= maxKept {
		for k, a := range c.kept {
			if !asked.Before(a.until) {
				delete(c.kept, k)
			}
		}
	}
	if len(c.kept) < maxKept {
		c.kept[k] = answer{err, asked.Add(c.keep)}
	}
}
