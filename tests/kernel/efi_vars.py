#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""efi_vars.py KERNEL OWNER.priv OWNER.pem MOK.der OUT: the UEFI variables that make a firmware in setup mode one with Secure Boot:
it trusts whoever signed KERNEL, and OWNER (its platform key); the kernel is told of MOK as shim tells it. As files of OUT to be
copied to efivarfs, the platform key last."""
import os
import struct
import subprocess
import sys
import uuid

GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SECURITY = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
X509, PKCS7 = (uuid.UUID(text).bytes_le for text in ("a5c059a1-94e4-4aa7-87b5-ab155c2bf072",
                                                     "4aafd29d-68df-49ee-8aa9-347d375665a7"))
STORED, AUTHENTICATED = 0x7, 0x27   # non-volatile, boot, runtime; and signed with a time stamp
TIME = struct.pack("<HBB12x", 2026, 1, 1)


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, check=True).stdout


def signature_list(certificate):
    return X509 + struct.pack("<III", 28 + 16 + len(certificate), 0, 16 + len(certificate)) + bytes(16) + certificate


def signer_of(image):
    """The certificate in a PE file's signature."""
    pe, = struct.unpack_from("<I", image, 0x3c)
    wide = struct.unpack_from("<H", image, pe + 24)[0] == 0x20b
    at, _ = struct.unpack_from("<II", image, pe + 24 + (112 if wide else 96) + 4 * 8)
    length, = struct.unpack_from("<I", image, at)
    certificates = openssl("pkcs7", "-inform", "DER", "-print_certs", data=image[at + 8:at + length])
    return openssl("x509", "-outform", "DER", data=certificates)


def inner(der):
    """The SignedData of a ContentInfo."""
    def body(at):
        return at + 2 + (der[at + 1] & 0x7f if der[at + 1] & 0x80 else 0)
    at = body(0)
    return der[body(at + 2 + der[at + 1]):]


def authenticated(lists, signature=b""):
    certificate = struct.pack("<IHH", 24 + len(signature), 0x0200, 0x0ef1) + PKCS7 + signature
    return struct.pack("<I", AUTHENTICATED) + TIME + certificate + lists


def main(kernel, owner_key, owner, mok, out):
    def write(name, guid, data):
        with open(os.path.join(out, f"{name}-{guid}"), "wb") as f:
            f.write(data)

    with open(kernel, "rb") as f:
        debian = signer_of(f.read())
    with open(mok, "rb") as f:
        write("MokListRT", SHIM, struct.pack("<I", STORED) + signature_list(f.read()))
    own = signature_list(openssl("x509", "-in", owner, "-outform", "DER"))
    write("db", SECURITY, authenticated(signature_list(debian) + own))
    write("KEK", GLOBAL, authenticated(own))
    signed = "PK".encode("utf-16-le") + uuid.UUID(GLOBAL).bytes_le + struct.pack("<I", AUTHENTICATED) + TIME + own
    write("PK", GLOBAL, authenticated(own, inner(openssl("smime", "-sign", "-binary", "-noattr", "-md", "sha256", "-signer", owner,
                                                         "-inkey", owner_key, "-outform", "DER", data=signed))))


main(*sys.argv[1:])
