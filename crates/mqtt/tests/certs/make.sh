#!/bin/sh
# Makes the certificates of the tests again: ./make.sh, in this directory. They are good for 100 years.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root() { # NAME COMMON-NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj "/CN=$2" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$work/$1.key" -out "$1.pem" 2>/dev/null
}
leaf() { # NAME SUBJECT ROOT EXTENSION
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$1.key" \
        -out "$work/$1.csr" 2>/dev/null
    printf '%s\nbasicConstraints=CA:FALSE\n' "$4" > "$work/$1.ext"
    openssl x509 -req -in "$work/$1.csr" -CA "$3.pem" -CAkey "$work/$3.key" -CAcreateserial \
        -CAserial "$work/serial" -days 36500 -extfile "$work/$1.ext" -out "$1.pem" 2>/dev/null
}
root ca "Test root"
root other-ca "Another root"
# An authority between the root and a server.
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=Inner authority" \
    -keyout "$work/inner-ca.key" -out "$work/inner-ca.csr" 2>/dev/null
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n' > "$work/inner-ca.ext"
openssl x509 -req -in "$work/inner-ca.csr" -CA ca.pem -CAkey "$work/ca.key" -CAcreateserial -CAserial "$work/serial" \
    -days 36500 -extfile "$work/inner-ca.ext" -out inner-ca.pem 2>/dev/null
leaf chained "/O=Tests/CN=localhost" inner-ca "subjectAltName=DNS:localhost,IP:127.0.0.1"
cat inner-ca.pem ca.pem > all-ca.pem
leaf server "/O=Tests/CN=localhost" ca "subjectAltName=DNS:localhost,IP:127.0.0.1"
leaf server2 "/O=Tests/CN=second" ca "subjectAltName=DNS:localhost,IP:127.0.0.1"
leaf client "/C=GB/O=Tests, Ltd/CN=device 1" ca "extendedKeyUsage=clientAuth"
leaf nameless "/O=Tests" ca "extendedKeyUsage=clientAuth"
leaf revoked "/CN=device 2" ca "extendedKeyUsage=clientAuth"
leaf stranger "/CN=device 1" other-ca "extendedKeyUsage=clientAuth"
printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\ncrlnumber=%s/crlnumber\ndefault_md=sha256\n' "$work" "$work" > "$work/conf"
: > "$work/index"
echo 01 > "$work/crlnumber"
openssl ca -config "$work/conf" -cert ca.pem -keyfile "$work/ca.key" -revoke revoked.pem 2>/dev/null
openssl ca -config "$work/conf" -cert ca.pem -keyfile "$work/ca.key" -gencrl -crldays 36500 -out crl.pem 2>/dev/null
