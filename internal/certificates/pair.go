package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"time"
)

// pair is a certificate with its key, and the CA that signed it and nothing else;
// in PEM.
type pair struct{ cert, key, ca []byte }

// newPair makes one. Its CA may sign for that name alone, and its key is not kept.
func newPair(o Options, now time.Time) (pair, error) {
	from, to := now.Add(-early), now.Add(o.Valid)
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: o.DNSName + " CA " + now.UTC().Format(time.DateTime)}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{o.DNSName},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return pair{}, err
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil { // with the key's identifier, which the certificate names
		return pair{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: o.DNSName}, NotBefore: from, NotAfter: to, DNSNames: []string{o.DNSName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return pair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, err
	}
	return pair{cert: encode("CERTIFICATE", der), key: encode("PRIVATE KEY", keyDER), ca: encode("CERTIFICATE", caDER)}, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
