// Package certificates makes the certificates of the agents and renews them, where
// no cert-manager does: `kmend certificates`, once a day. The agents and kmend
// mount the Secret that it keeps, and read its files again when they change.
//
//	Secret -> Renew -> Secret: tls.crt, tls.key (the agents'), ca.crt (kmend's)
package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// The Secret's keys. The next pair lies ready until everybody trusts it.
const (
	certKey, keyKey         = "tls.crt", "tls.key"
	nextCertKey, nextKeyKey = "next.crt", "next.key"
	caKey                   = "ca.crt"
)

const (
	day = 24 * time.Hour
	// lead is how long the CA of the next certificate is in ca.crt before agents
	// show that certificate: the kubelet takes up to two minutes to bring it to kmend.
	lead = time.Hour
	// early is how far the beginning of a certificate lies back, for clocks that are
	// behind.
	early = time.Hour
)

// What Renew did.
const (
	Unchanged = "unchanged"
	Made      = "made"     // there was no pair that could be used
	Prepared  = "prepared" // the next pair lies ready, and its CA is in ca.crt
	Replaced  = "replaced" // the next pair is the one that agents show
)

// Options are of the certificates that are made.
type Options struct {
	DNSName string        // in the agents' certificate; kmend's agents.serverName
	Valid   time.Duration // how long a certificate is good; it is replaced in the last third
}

// DefaultOptions are good for a run a day.
func DefaultOptions() Options { return Options{DNSName: "kmend-agent", Valid: 30 * day} }

// Validate names what is wrong, and what is allowed.
func (o Options) Validate() error {
	if problems := validation.IsDNS1123Subdomain(o.DNSName); len(problems) > 0 || net.ParseIP(o.DNSName) != nil {
		return fmt.Errorf("DNSName is %q; want a name as kmend-agent: %s", o.DNSName, strings.Join(append(problems, "no address"), "; "))
	}
	if o.Valid < 7*day || o.Valid > 366*day { // its last third has two runs, though one fails
		return fmt.Errorf("Valid is %s; allowed: 7 to 366 days (168h to 8784h)", o.Valid)
	}
	return nil
}

// Renew is the Secret's data as they are to be at that time. A certificate has a CA
// of its own, whose key is thrown away as soon as it has signed: no Secret holds a
// key that could sign another. So a renewal is two steps, lead apart: first kmend is
// told to trust the next CA, then the agents show its certificate.
func Renew(data map[string][]byte, o Options, now time.Time) (map[string][]byte, string, error) {
	if err := o.Validate(); err != nil {
		return nil, "", err
	}
	out := maps.Clone(data)
	if out == nil {
		out = map[string][]byte{}
	}
	current := usable(out, certKey, keyKey, o.DNSName, now)
	next := usable(out, nextCertKey, nextKeyKey, o.DNSName, now)
	switch {
	case next != nil && (current == nil || !now.Before(next.NotBefore.Add(early+lead))):
		out[certKey], out[keyKey] = out[nextCertKey], out[nextKeyKey]
		delete(out, nextCertKey)
		delete(out, nextKeyKey)
		out[caKey] = valid(out[caKey], now)
		return out, Replaced, nil
	case current == nil:
		return out, Made, issue(out, certKey, keyKey, o, now)
	case next == nil && current.NotAfter.Sub(now) < current.NotAfter.Sub(current.NotBefore)/3:
		return out, Prepared, issue(out, nextCertKey, nextKeyKey, o, now)
	}
	return out, Unchanged, nil
}

// issue puts a new pair into the data, and its CA beside those that are there.
func issue(data map[string][]byte, cert, key string, o Options, now time.Time) error {
	p, err := newPair(o, now)
	if err != nil {
		return fmt.Errorf("making a certificate for %s: %w", o.DNSName, err)
	}
	data[cert], data[key] = p.cert, p.key
	data[caKey] = append(valid(data[caKey], now), p.ca...)
	return nil
}

// usable is the certificate of a pair that agents can show now, nil without one:
// its key fits, it is for the name, and ca.crt trusts it.
func usable(data map[string][]byte, cert, key, name string, now time.Time) *x509.Certificate {
	pair, err := tls.X509KeyPair(data[cert], data[key])
	if err != nil {
		return nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(data[caKey])
	between.AppendCertsFromPEM(data[cert]) // a Secret that is adopted may have a chain
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name, CurrentTime: now}); err != nil {
		return nil
	}
	return pair.Leaf
}

// valid are the CAs of a bundle that are not over. Those of certificates that were
// replaced stay until then: an agent may show its old one for some minutes, and
// nobody has their keys.
func valid(bundle []byte, now time.Time) []byte {
	var out bytes.Buffer
	for _, ca := range certificates(bundle) {
		if now.Before(ca.NotAfter) {
			out.Write(encode("CERTIFICATE", ca.Raw))
		}
	}
	return out.Bytes()
}

// certificates are those of a bundle that can be read.
func certificates(bundle []byte) (out []*x509.Certificate) {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
	return out
}
