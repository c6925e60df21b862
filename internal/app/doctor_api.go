package app

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kmend/kmend/internal/doctor"
	"github.com/kmend/kmend/internal/store"
)

// examined is /api/v1/doctor: what only a running kmend can see of its installation.
// Whoever may read may ask; one at a time, for each asks everybody else.
type examined struct {
	log   *slog.Logger
	doors doors
	run   func(context.Context) doctor.Report
	busy  *sync.Mutex
}

func (x examined) routes(r chi.Router) { r.With(x.doors.readers).Get("/doctor", x.get) }

func (x examined) get(w http.ResponseWriter, r *http.Request) {
	if !x.busy.TryLock() {
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusTooManyRequests, "somebody else's checks are running; try again in some seconds")
		return
	}
	defer x.busy.Unlock()
	reply(w, http.StatusOK, x.run(r.Context()))
}

// examine checks this server's installation: the files as they are now, all else as it
// is in use.
func (a *App) examine(db *store.Store) func(context.Context) doctor.Report {
	return func(ctx context.Context) doctor.Report {
		now := time.Now()
		_, lines := loadChecked(a.config.file, os.Environ()...)
		e := examiner{config: a.config, version: a.opts.Version, database: db.Inspect, arrivals: a.arrivals, local: a.local, reloads: a.reloads,
			steps: a.now.runbooks.Load().Steps()}
		return doctor.NewReport(now, append(lines, e.run(ctx, nil)...))
	}
}
