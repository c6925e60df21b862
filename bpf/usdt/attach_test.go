package usdt

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
)

//go:embed testdata/points.bpf.o
var object []byte

type hit struct {
	Count, Failed uint64
	Args          [MaxArguments]uint64
}

// tracer is the test's BPF program.
type tracer struct {
	objects
	attacher *Attacher
}

type objects struct {
	OnHit     *ebpf.Program `ebpf:"on_hit"`
	Hits      *ebpf.Map     `ebpf:"hits"`
	UsdtSpecs *ebpf.Map     `ebpf:"usdt_specs"`
}

// load loads it to be attached to one point at a time, or as the kernel likes best.
func load(plain bool) (*tracer, error) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	if !plain {
		Prepare(spec.Programs["on_hit"])
	}
	var tr tracer
	if err := spec.LoadAndAssign(&tr.objects, nil); err != nil {
		return nil, err
	}
	tr.attacher = NewAttacher(spec.Programs["on_hit"], tr.OnHit, tr.UsdtSpecs)
	return &tr, nil
}

func loaded(t *testing.T, plain bool) *tracer {
	t.Helper()
	tr, err := load(plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.OnHit.Close(); tr.Hits.Close(); tr.UsdtSpecs.Close() })
	return tr
}

func (tr *tracer) hit(t *testing.T, pid, spec int) (h hit) {
	t.Helper()
	_ = tr.Hits.Lookup(uint64(pid)<<32|uint64(spec), &h)
	return h
}

func (tr *tracer) attach(f *os.File) error {
	o, err := ReadObject(f, "test")
	if err != nil {
		return err
	}
	return tr.attacher.Attach(f, o, Point{"test", "tick", MaxArguments}, Point{"test", "always", 1})
}

// both runs a test with one link for each point, as before 6.6, and as the
// kernel likes best.
func both(t *testing.T, test func(t *testing.T, plain bool)) {
	for name, plain := range map[string]bool{"plain": true, "best": false} {
		t.Run(name, func(t *testing.T) { test(t, plain) })
	}
}

// Every form of argument arrives, and the semaphore and the code are as before
// when the tracer is gone.
func TestAttach(t *testing.T) { both(t, testAttach) }

func testAttach(t *testing.T, plain bool) {
	p := start(t)
	tr := loaded(t, plain)
	tickBefore, alwaysBefore := p.instruction("tick"), p.instruction("always")
	if n := p.semaphore(); n != 0 {
		t.Fatalf("the semaphore is %d before anything is attached", n)
	}
	if err := tr.attach(p.file); err != nil {
		t.Fatal(err)
	}
	defer tr.attacher.Close()
	if n := p.semaphore(); n != 1 {
		t.Errorf("the semaphore is %d while one tracer is attached", n)
	}
	waitFor(t, "both probes have fired", func() bool {
		return tr.hit(t, p.pid, 0).Count >= 3 && tr.hit(t, p.pid, 1).Count >= 3
	})
	h := tr.hit(t, p.pid, 0)
	if h.Failed != 0 || h.Args[0] == 0 {
		t.Errorf("arguments that were not read: %b; ticks %d", h.Failed, h.Args[0])
	}
	signed := func(v int64) uint64 { return uint64(v) }
	// The number of ticks is in a register and in memory.
	if want := [MaxArguments]uint64{h.Args[0], signed(-7), 0xfffffff9, signed(-2), 0x11223344, h.Args[0], signed(-32767), signed(-5)}; h.Args != want {
		t.Errorf("arguments %x, want %x", h.Args, want)
	}
	if h := tr.hit(t, p.pid, 1); h.Failed>>1 != 0x7f || h.Failed&1 != 0 || h.Args[0] == 0 {
		t.Errorf("of one argument: failed %b, read %x", h.Failed, h.Args)
	}

	// A process that is born meanwhile is traced as well.
	born := run(t, exec.Command(fmt.Sprintf("/proc/%d/exe", p.pid)))
	waitFor(t, "the new process's semaphore is up", func() bool { return born.semaphore() == 1 })
	waitFor(t, "the new process is traced", func() bool { return tr.hit(t, born.pid, 0).Count > 0 })

	if err := tr.attacher.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{p, born} {
		if n := p.semaphore(); n != 0 {
			t.Errorf("the semaphore is %d after the tracer detached", n)
		}
		if tick, always := p.instruction("tick"), p.instruction("always"); tick != tickBefore || always != alwaysBefore {
			t.Errorf("the instructions are %#x and %#x after the tracer detached, and were %#x and %#x", tick, always, tickBefore, alwaysBefore)
		}
	}
	count := tr.hit(t, p.pid, 1).Count
	ticks := p.ticks()
	waitFor(t, "the program went on", func() bool { return p.ticks() > ticks+20 })
	if n := tr.hit(t, p.pid, 1).Count; n != count {
		t.Errorf("%d hits after the tracer detached", n-count)
	}
}

// ticks is the program's own count.
func (p *process) ticks() (n uint64) {
	p.t.Helper()
	var b [8]byte
	p.peek(valuesOffset+8, b[:])
	for i := range b {
		n |= uint64(b[i]) << (8 * i)
	}
	return n
}

// valuesOffset is where points.S has its values.
const valuesOffset = 0x3000

// A tracer that is killed leaves no breakpoint and no semaphore behind.
func TestTracerKilled(t *testing.T) { both(t, testTracerKilled) }

func testTracerKilled(t *testing.T, plain bool) {
	p := start(t)
	before := p.instruction("tick")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "KMEND_USDT_AS=tracer", "KMEND_USDT_PID="+strconv.Itoa(p.pid), "KMEND_USDT_PLAIN="+strconv.FormatBool(plain))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the tracer said %q: %v", line, err)
	}
	if n := p.semaphore(); n != 1 {
		t.Fatalf("the semaphore is %d while the tracer is attached", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitFor(t, "the semaphore is down", func() bool { return p.semaphore() == 0 })
	waitFor(t, "the instruction is as before", func() bool { return p.instruction("tick") == before })
}

func traceForEver() error {
	pid, err := strconv.Atoi(os.Getenv("KMEND_USDT_PID"))
	if err != nil {
		return err
	}
	tr, err := load(os.Getenv("KMEND_USDT_PLAIN") == "true")
	if err != nil {
		return err
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err
	}
	if err := tr.attach(f); err != nil {
		return err
	}
	fmt.Println("attached")
	select {}
}

// A program in another mount and pid namespace, at a path that means nothing
// here, and one that has no path any more.
func TestOtherNamespace(t *testing.T) {
	for name, p := range map[string]*process{"container": run(t, container()), "deleted": deleted(t)} {
		t.Run(name, func(t *testing.T) {
			tr := loaded(t, false)
			if err := tr.attach(p.file); err != nil {
				t.Fatal(err)
			}
			defer tr.attacher.Close()
			waitFor(t, "it is traced", func() bool { return tr.hit(t, p.pid, 0).Count > 0 })
		})
	}
}

func deleted(t *testing.T) *process {
	t.Helper()
	p := start(t)
	if err := os.Remove(p.mapping.Path); err != nil {
		t.Fatal(err)
	}
	return p
}
