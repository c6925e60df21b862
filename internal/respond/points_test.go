package respond

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"modernc.org/sqlite"

	"github.com/kmend/kmend/incident"
)

// counter counts the points of a process, which are all that it does that outlives it: each transaction that
// it commits, the workflow engine's too, and each call of a stage. Each has a name
// and is counted right before it is done. Between two points nothing lasts: to be
// killed right after one is to be killed right before the next.
type counter struct {
	cut string // right before this one the process kills itself; "": never

	mu   sync.Mutex
	seen map[string]int
	log  *os.File
}

func newCounter(dir, cut string) (*counter, error) {
	log, err := os.OpenFile(filepath.Join(dir, "points"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return &counter{cut: cut, seen: map[string]int{}, log: log}, err
}

// reach is the next point: the nth of its name.
func (p *counter) reach(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[name]++
	name = fmt.Sprintf("%s %d", name, p.seen[name])
	if name == p.cut {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if _, err := fmt.Fprintln(p.log, name); err != nil {
		panic(err)
	}
}

// committed is a transaction by the tables that it changes.
func (p *counter) committed(tables map[string]bool) {
	if len(tables) > 0 {
		p.reach("commit " + strings.Join(slices.Sorted(maps.Keys(tables)), "+"))
	}
	clear(tables)
}

// onSQLite counts what any connection of this process commits.
func (p *counter) onSQLite() {
	sqlite.RegisterConnectionHook(func(c sqlite.ExecQuerierContext, _ string) error {
		hooks, wrote := c.(sqlite.HookRegisterer), map[string]bool{}
		hooks.RegisterPreUpdateHook(func(d sqlite.SQLitePreUpdateData) { wrote[d.TableName] = true })
		hooks.RegisterRollbackHook(func() { clear(wrote) })
		hooks.RegisterCommitHook(func() int32 { p.committed(wrote); return 0 })
		return nil
	})
}

// onPostgres listens in front of the server and counts what is to be committed
// through it. It returns the address that goes through it.
func (p *counter) onPostgres(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432")
	u.Host, u.RawQuery = l.Addr().String(), "sslmode=disable"
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.relay(client, server)
		}
	}()
	return u.String(), nil
}

func (p *counter) relay(client net.Conn, server string) {
	defer client.Close()
	up, err := net.Dial("unix", server)
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(client, up); client.Close() }()
	defer up.Close()
	s := session{counter: p, wrote: map[string]bool{}, prepared: map[string]string{}, bound: map[string]string{}}
	in := bufio.NewReader(client)
	for head := 0; ; head = 1 { // what begins a connection has a length and no type
		b := make([]byte, head+4)
		if _, err := io.ReadFull(in, b); err != nil {
			return
		}
		body := make([]byte, max(int(binary.BigEndian.Uint32(b[head:]))-4, 0))
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		if head == 1 {
			s.message(b[0], strings.Split(string(body), "\x00"))
		}
		if _, err := up.Write(slices.Concat(b, body)); err != nil {
			return
		}
	}
}

// session knows what one connection to PostgreSQL has written and not committed.
type session struct {
	*counter
	inside   bool // of a transaction
	wrote    map[string]bool
	prepared map[string]string // statements by their names
	bound    map[string]string // of portals
}

// message is one of the protocol's before it is sent; text are its strings.
func (s *session) message(kind byte, text []string) {
	switch kind {
	case 'Q': // Query
		s.statement(text[0])
	case 'P': // Parse
		s.prepared[text[0]] = text[1]
	case 'B': // Bind
		s.bound[text[0]] = s.prepared[text[1]]
	case 'E': // Execute
		s.statement(s.bound[text[0]])
	}
}

func (s *session) statement(sql string) {
	first, rest, _ := strings.Cut(strings.ToLower(strings.TrimSpace(sql)), " ")
	switch strings.TrimSuffix(first, ";") {
	case "begin":
		s.inside = true
	case "commit":
		s.committed(s.wrote)
		s.inside = false
	case "rollback":
		if !strings.HasPrefix(rest, "to ") {
			clear(s.wrote)
			s.inside = false
		}
	default:
		for _, table := range changedBy(sql) {
			s.wrote[table] = true
		}
		if !s.inside {
			s.committed(s.wrote)
		}
	}
}

// changedBy are the tables that a statement writes to.
func changedBy(sql string) (tables []string) {
	sql = strings.ToLower(regexp.MustCompile(`--.*`).ReplaceAllString(sql, ""))
	if strings.Contains(sql, "delay_until_epoch_ms <=") {
		return nil // each second the engine looks for delayed workflows, and there are none
	}
	const name = `([\w."]+)`
	for _, m := range regexp.MustCompile(`\b(?:insert into|update|delete from|create table|create index|alter table)\s+(?:only\s+|if not exists\s+)?`+name).FindAllStringSubmatch(sql, -1) {
		table := strings.Trim(m[1][strings.LastIndex(m[1], ".")+1:], `"`)
		if !slices.Contains([]string{"set", "skip", "of"}, table) { // ON CONFLICT DO UPDATE SET, FOR UPDATE SKIP LOCKED
			tables = append(tables, table)
		}
	}
	return tables
}

// counted are stages whose calls are points. What is pure is none.
type counted struct {
	*counter
	in *stages
}

func (c counted) Diagnose(ctx context.Context, t incident.Target, w time.Duration) (incident.Diagnosis, error) {
	c.reach("diagnose")
	return c.in.Diagnose(ctx, t, w)
}

// Investigate comes from what the alert names to itself: every hop is a measurement,
// and measurements are points.
func (c counted) Investigate(ctx context.Context, inc incident.Incident, measure func(context.Context, incident.Target) (incident.Diagnosis, error)) (incident.Diagnosis, error) {
	c.reach("investigate")
	d, err := measure(ctx, inc.Target)
	d.Investigation = &incident.Investigation{Hops: []incident.Hop{{Target: inc.Target, Via: incident.ViaAlert, Verdict: d.Verdict}}}
	c.reach("investigated")
	return d, err
}

func (c counted) Recall(_ context.Context, live incident.Diagnosis, _ time.Time) incident.Diagnosis {
	c.reach("recall")
	return live
}

func (c counted) Plan(inc incident.Incident) (incident.Plan, bool, string, error) {
	return c.in.Plan(inc)
}

func (c counted) Decide(ctx context.Context, inc incident.Incident, p incident.Plan) incident.Decision {
	c.reach("decide")
	return c.in.Decide(ctx, inc, p)
}

func (c counted) Paused(ctx context.Context) (string, error) {
	c.reach("paused")
	return c.in.Paused(ctx)
}

func (c counted) Preview(ctx context.Context, p incident.Plan) (incident.Plan, error) {
	c.reach("preview")
	return c.in.Preview(ctx, p)
}

func (c counted) Apply(ctx context.Context, p incident.Plan, step int) (incident.Execution, error) {
	c.reach(fmt.Sprintf("apply %d", step))
	return c.in.Apply(ctx, p, step)
}

func (c counted) Undo(ctx context.Context, p incident.Plan, done incident.Execution) (incident.Execution, error) {
	c.reach(fmt.Sprintf("undo %d", done.Step))
	return c.in.Undo(ctx, p, done)
}

func (c counted) Verify(p incident.Plan, before, after incident.Diagnosis) incident.Verification {
	return c.in.Verify(p, before, after)
}

func (c counted) Members(context.Context, string) ([]string, error) {
	c.reach("members")
	return []string{ada}, nil
}

func (c counted) Changed(string, bool) { c.reach("changed") }

func (c counted) Notify(ctx context.Context, inc incident.Incident) error {
	c.reach("notify")
	return c.in.Notify(ctx, inc)
}

// count puts c between kmend and all of its stages; a stage that it leaves out is
// an error. A tracer is none: what it is told decides nothing.
func (c counted) count(o *Options) error {
	o.Diagnoser, o.Investigator, o.Planner, o.Guard, o.Executor, o.Notifier, o.Groups, o.Watcher = c, c, c, c, c, c, c, c
	v := reflect.ValueOf(*o)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Interface && v.Type().Field(i).Name != "Tracer" && (f.IsNil() || f.Elem().Type() != reflect.TypeOf(c)) {
			return errors.New("calls of Options." + v.Type().Field(i).Name + " are not counted")
		}
	}
	return nil
}
