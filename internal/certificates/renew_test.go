package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// secret is the data of a Secret.
type secret = map[string][]byte

// shakes reports how a handshake ends between an agent that shows what is in one
// state of the Secret and a kmend that trusts what is in another.
func shakes(t *testing.T, agent, kmend secret, name string, now time.Time) error {
	t.Helper()
	cert, err := tls.X509KeyPair(agent[certKey], agent[keyKey])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(kmend[caKey])
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		a, err := ln.Accept()
		if err != nil {
			return
		}
		defer a.Close()
		s := tls.Server(a, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}})
		_ = s.Handshake() // the client says what was wrong
		_, _ = io.Copy(io.Discard, a)
	}()
	b, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := tls.Client(b, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: name, Time: func() time.Time { return now }})
	return c.Handshake()
}

func renew(t *testing.T, data secret, now time.Time, want string) secret {
	t.Helper()
	before := maps.Clone(data)
	out, did, err := Renew(data, DefaultOptions(), now)
	if err != nil || did != want {
		t.Fatalf("%s, %v; want %s", did, err, want)
	}
	if !maps.EqualFunc(before, data, bytes.Equal) {
		t.Error("what was handed in is changed")
	}
	return out
}

// Two hundred days of runs, at most two days apart and some within minutes: agents and
// kmend understand each other after each run and until the next, also while one of
// them has the files of 50 minutes ago or, for two days, of the version before.
func TestNobodyIsRefused(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 2026))
	type version struct {
		data secret
		at   time.Time
	}
	now := time.Now()
	end := now.Add(200 * day)
	versions := []version{{renew(t, nil, now, Made), now}}
	check := func(now time.Time) {
		t.Helper()
		newest := versions[len(versions)-1]
		lagging := map[string]secret{"the files of 50 minutes ago": versions[0].data}
		for _, v := range versions {
			if now.Sub(v.at) >= 50*time.Minute {
				lagging["the files of 50 minutes ago"] = v.data
			}
		}
		if len(versions) > 1 && now.Sub(newest.at) <= 2*day {
			lagging["the version before"] = versions[len(versions)-2].data
		}
		for name, old := range lagging {
			for who, files := range map[string][2]secret{"both new": {newest.data, newest.data}, "agent with " + name: {old, newest.data}, "kmend with " + name: {newest.data, old}} {
				if err := shakes(t, files[0], files[1], "kmend-agent", now); err != nil {
					t.Fatalf("%s, %s, version %d: %v", now, who, len(versions), err)
				}
			}
		}
	}
	did := map[string]int{}
	for now.Before(end) {
		apart := 2 * day
		if random.IntN(4) == 0 {
			apart = 90 * time.Minute
		}
		now = now.Add(time.Duration(random.Int64N(int64(apart))))
		check(now)
		data, what, err := Renew(versions[len(versions)-1].data, DefaultOptions(), now)
		if err != nil {
			t.Fatal(err)
		}
		did[what]++
		if what != Unchanged {
			versions = append(versions, version{data, now})
			check(now)
		}
		if n := len(certificates(data[caKey])); n > 3 {
			t.Fatalf("%d CAs are trusted", n)
		}
	}
	if did[Replaced] < 7 || did[Replaced] > 11 || did[Prepared] < did[Replaced] || did[Made] != 0 {
		t.Errorf("in 200 days: %v", did)
	}
}

// A certificate is kept until its last third; then the next one waits until it is
// trusted, however often one asks.
func TestWaitsUntilTheNextIsTrusted(t *testing.T) {
	now := time.Now().Truncate(time.Second) // as certificates have it
	data := renew(t, nil, now, Made)
	now = now.Add(20 * day)
	renew(t, data, now.Add(-time.Hour), Unchanged)
	data = renew(t, data, now.Add(time.Hour), Prepared)
	now = now.Add(time.Hour)
	renew(t, data, now.Add(lead-time.Second), Unchanged)
	replaced := renew(t, data, now.Add(lead), Replaced)
	if len(replaced[nextKeyKey])+len(replaced[nextCertKey]) > 0 || !bytes.Equal(replaced[certKey], data[nextCertKey]) {
		t.Error("the next pair is not the current one")
	}
	renew(t, data, now.Add(10*day), Replaced) // nothing else is left to show
}

// What cannot be used is made anew: nothing else would help.
func TestMakesAnew(t *testing.T) {
	now := time.Now()
	data := renew(t, nil, now, Made)
	for name, change := range map[string]func(secret){
		"no key":        func(d secret) { delete(d, keyKey) },
		"another's key": func(d secret) { d[keyKey] = renew(t, nil, now, Made)[keyKey] },
		"no CA":         func(d secret) { d[caKey] = []byte("half") },
		"another's CA":  func(d secret) { d[caKey] = renew(t, nil, now, Made)[caKey] },
	} {
		broken := maps.Clone(data)
		change(broken)
		made := renew(t, broken, now, Made)
		if err := shakes(t, made, made, "kmend-agent", now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	renew(t, data, now.Add(31*day), Made)
	o := DefaultOptions()
	o.DNSName = "another-name"
	if out, did, err := Renew(data, o, now); err != nil || did != Made || shakes(t, out, out, "another-name", now) != nil {
		t.Errorf("for another name: %s, %v", did, err)
	}
	if err := shakes(t, data, data, "kmend.example.com", now); err == nil || !strings.Contains(err.Error(), "not kmend.example.com") {
		t.Errorf("the certificate is good for another name: %v", err)
	}
}

// The key that signed is nowhere: who reads the Secret cannot sign for others.
func TestNoKeyOfTheCA(t *testing.T) {
	now := time.Now()
	data := renew(t, nil, now, Made)
	data = renew(t, data, now.Add(21*day), Prepared)
	for name, text := range data {
		if bytes.Contains(text, []byte("PRIVATE KEY")) && name != keyKey && name != nextKeyKey {
			t.Errorf("%s holds a key", name)
		}
	}
	for _, ca := range certificates(data[caKey]) {
		text := encode("CERTIFICATE", ca.Raw)
		for _, key := range []string{keyKey, nextKeyKey} {
			if _, err := tls.X509KeyPair(text, data[key]); err == nil {
				t.Errorf("%s is the key of the CA %s", key, ca.Subject)
			}
		}
		if len(ca.PermittedDNSDomains) != 1 || ca.PermittedDNSDomains[0] != "kmend-agent" {
			t.Errorf("the CA may sign for %q", ca.PermittedDNSDomains)
		}
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"":                           func(*Options) {},
		`DNSName is ""`:              func(o *Options) { o.DNSName = "" },
		`DNSName is "10.0.0.1"`:      func(o *Options) { o.DNSName = "10.0.0.1" },
		`DNSName is "*.example.com"`: func(o *Options) { o.DNSName = "*.example.com" },
		"allowed: 7 to 366 days":     func(o *Options) { o.Valid = 24 * time.Hour },
		"Valid is 8808h0m0s":         func(o *Options) { o.Valid = 367 * day },
	} {
		o := DefaultOptions()
		change(&o)
		_, _, err := Renew(nil, o, time.Now())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}
