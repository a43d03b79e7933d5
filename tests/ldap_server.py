"""A real slapd with TLS for tests: its own process, folder and certificate, on loopback."""

import base64
import datetime as dt
import ipaddress
import shutil
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import free_port

BASE = "dc=example,dc=edu"
USERS, GROUPS, CLUBS = f"ou=people,{BASE}", f"ou=groups,{BASE}", f"ou=clubs,{BASE}"
HUB_DN, HUB_PASSWORD = f"cn=hub,{BASE}", "hub-searches-4711"
ROOT_DN, ROOT_PASSWORD = f"cn=root,{BASE}", "root-4711"
CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {folder}/pid
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
database mdb
suffix "{base}"
directory {folder}/db
rootdn "{root}"
rootpw {rootpw}
overlay memberof
memberof-dangling ignore
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{hub}" read by self read by dn.regex="^uid=[^,]+,{users}$" read by * none
"""


def certificate(folder: Path, name: str, *, addresses=("127.0.0.1",), names=("localhost",), days=1, signer=None):
    """Create a certificate, self-signed or signed by `signer`: NAME.pem and NAME.key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key, issuer = (key, subject) if signer is None else signer
    now = dt.datetime.now(dt.UTC)
    alternatives = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    alternatives += [x509.DNSName(each) for each in names]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=max(2, 2 - days)))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return key, subject


def user_entry(uid, password="right", **more):
    """Return an entry below USERS (ou=people) in LDIF."""
    lines = [
        f"dn: uid={uid.replace('+', chr(92) + '+')},{USERS}",
        "objectClass: inetOrgPerson",
        f"uid: {uid}",
        f"cn: {uid}",
        f"sn: {uid}",
    ]
    lines += [f"userPassword:: {base64.b64encode(password.encode()).decode()}"] if password else []
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in more.items())])


def group(cn, *members, base=GROUPS):
    """Return a groupOfNames below GROUPS or `base` in LDIF."""
    return "\n".join(
        [f"dn: cn={cn},{base}", "objectClass: groupOfNames", f"cn: {cn}", *(f"member: {one}" for one in members)]
    )


class Slapd:
    """One directory. `ldaps` and `ldap` are its URLs, `ca` is the authority of its certificate."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ca = folder / "authority.pem"
        self.port, self.tls_port = free_port(), free_port()
        self.ldap, self.ldaps = f"ldap://127.0.0.1:{self.port}", f"ldaps://127.0.0.1:{self.tls_port}"
        (folder / "db").mkdir()
        certificate(folder, "server", signer=certificate(folder, "authority"))
        values = {"base": BASE, "root": ROOT_DN, "rootpw": ROOT_PASSWORD, "hub": HUB_DN, "users": USERS}
        (folder / "slapd.conf").write_text(CONFIG.format(folder=folder, **values))
        self.process = None

    def start(self):
        """Start it, and add the base entries if it is new."""
        new = not any((self.folder / "db").iterdir())
        binary = shutil.which("slapd") or "/usr/sbin/slapd"
        with (self.folder / "log").open("ab") as log:
            urls = f"{self.ldap}/ {self.ldaps}/"
            argv = [binary, "-f", str(self.folder / "slapd.conf"), "-h", urls, "-d", "0"]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while self._ldap("ldapwhoami", check=False).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)
        if new:
            self.add(
                f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example",
                *(
                    f"dn: {unit}\nobjectClass: organizationalUnit\nou: {unit.partition(',')[0][3:]}"
                    for unit in (USERS, GROUPS, CLUBS)
                ),
                f"dn: {HUB_DN}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: hub\nuserPassword: {HUB_PASSWORD}",
            )
        return self

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def add(self, *entries):
        """Add entries in LDIF."""
        self._ldap("ldapadd", data="\n\n".join(entries) + "\n")

    def change(self, text):
        """Apply changes in LDIF."""
        self._ldap("ldapmodify", data=text)

    def _ldap(self, program, *, data="", check=True):
        argv = [program, "-x", "-H", self.ldap, "-D", ROOT_DN, "-w", ROOT_PASSWORD]
        done = subprocess.run(argv, input=data.encode(), capture_output=True)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done
