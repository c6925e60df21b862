package cgroups

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// IO is what a group of the io controller may do on one device in a second, and
// what it has done since it was made. In the order of IOKinds; a limit of 0 is none.
type IO struct {
	Dir, Path   string
	Device      string // MAJOR:MINOR
	Limit, Used [4]uint64
}

// IOKinds names the limits as io.max does: bytes and I/Os, read and written.
func IOKinds() [4]string { return [4]string{"rbps", "wbps", "riops", "wiops"} }

// IO reads the limits of one group, one entry for each device that has any. On v1
// the limits of the groups above do not apply.
func (m Mount) IO(dir string) []IO {
	var out []IO
	path, _ := m.Path(dir)
	of := func(device string) *IO {
		for i := range out {
			if out[i].Device == device {
				return &out[i]
			}
		}
		out = append(out, IO{Dir: dir, Path: path, Device: device})
		return &out[len(out)-1]
	}
	if m.V2 {
		for device, f := range perDevice(dir, "io.max") {
			for i, kind := range IOKinds() {
				if n := f[kind]; n > 0 {
					of(device).Limit[i] = n
				}
			}
		}
		stat := perDevice(dir, "io.stat")
		for i := range out {
			f := stat[out[i].Device]
			out[i].Used = [4]uint64{f["rbytes"], f["wbytes"], f["rios"], f["wios"]}
		}
		return out
	}
	for i, kind := range []string{"read_bps", "write_bps", "read_iops", "write_iops"} {
		for device, n := range keys(dir, "blkio.throttle."+kind+"_device") {
			of(device).Limit[i] = n
		}
	}
	if len(out) == 0 {
		return nil
	}
	bytes, ios := v1Device(dir, "blkio.throttle.io_service_bytes"), v1Device(dir, "blkio.throttle.io_serviced")
	for i := range out {
		b, n := bytes[out[i].Device], ios[out[i].Device]
		out[i].Used = [4]uint64{b["Read"], b["Write"], n["Read"], n["Write"]}
	}
	return out
}

// perDevice reads lines "MAJOR:MINOR key=number ..."; "max" is 0.
func perDevice(dir, file string) map[string]map[string]uint64 {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	out := map[string]map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		out[f[0]] = map[string]uint64{}
		for _, pair := range f[1:] {
			key, value, _ := strings.Cut(pair, "=")
			if n, err := strconv.ParseUint(value, 10, 64); err == nil {
				out[f[0]][key] = n
			}
		}
	}
	return out
}

// v1Device reads lines "MAJOR:MINOR Operation number".
func v1Device(dir, file string) map[string]map[string]uint64 {
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	out := map[string]map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			continue
		}
		if out[f[0]] == nil {
			out[f[0]] = map[string]uint64{}
		}
		out[f[0]][f[1]] = n
	}
	return out
}
