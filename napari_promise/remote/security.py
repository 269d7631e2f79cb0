"""Who may connect to what: addresses, certificates, and the rules for both.

One certificate authority is made for one server. It signs the server's certificate and
one for clients, which travels as a single file. Whoever holds that file can run code on
the workers, for dask works so.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import select
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_promise.files import one_line, user_folder, write_whole

if TYPE_CHECKING:
    from distributed.security import Security

__all__ = [
    "PORT",
    "Address",
    "Credentials",
    "MissingExtraError",
    "checked_address",
    "is_address",
    "knock",
    "load_credentials",
    "make_credentials",
    "require_extra",
    "server_credentials",
    "server_folder",
]

#: Where a server listens unless it is told otherwise; dask's own choice.
PORT = 8786

_DAYS = 825  # what browsers allow of a server's certificate at most
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\s*", re.DOTALL)
#: Seconds that a server has to say something; it may be busy encoding.
_ANSWER_SECONDS, _PLAIN_ANSWER_SECONDS = 60.0, 10.0


class MissingExtraError(ValueError):
    """What the extra ``remote`` brings is not installed."""


def require_extra() -> None:
    """Raise where dask.distributed or cryptography is missing.

    Raises
    ------
    MissingExtraError
        With the command that installs them.
    """
    try:
        import cryptography  # noqa: F401
        import distributed  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"encoding elsewhere needs {error.name}: pip install "
            "'napari-promise[remote]'."
        ) from error


# Addresses -----------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """Where a scheduler listens.

    Attributes
    ----------
    scheme : {"tls", "tcp"}
    host : str
    port : int
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this computer, by a name that no name server decides on."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def is_address(text: str) -> bool:
    """Whether a text is meant as the address of a server, and not as a device."""
    return "://" in text


def checked_address(text: str, *, plain: bool = False) -> Address:
    """Read an address, and refuse one that is not safe.

    Parameters
    ----------
    text : str
        ``tls://host:port``; the scheme and the port may be left out.
    plain : bool
        Whether connections without encryption are allowed to other computers too.

    Raises
    ------
    ValueError
        If it cannot be read, or is neither encrypted nor of this computer.
    """
    text = text.strip()
    found = re.fullmatch(
        r"(?:(?P<scheme>[a-z]+)://)?(?:\[(?P<six>[0-9a-fA-F:]+)\]|(?P<host>[^\s:/\[\]]+))"
        r"(?::(?P<port>\d{1,5}))?/?",
        text,
    )
    if found is None or int(found["port"] or PORT) not in range(1, 65536):
        raise ValueError(
            f"{text!r} is no address: write tls://host:{PORT}, as `napari-promise "
            "serve` prints it."
        )
    scheme = found["scheme"] or "tls"
    if scheme not in ("tls", "tcp"):
        raise ValueError(
            f"{text}: {scheme}:// is not spoken here, use tls://host:{PORT}."
        )
    address = Address(scheme, found["six"] or found["host"], int(found["port"] or PORT))
    if scheme == "tcp" and not plain and not address.is_loopback:
        raise ValueError(
            f"{address} would send your images without encryption, and anybody on the "
            f"way could run code there: use tls://{address.host}:{address.port}, or "
            "allow plain connections in the settings if the network is yours alone."
        )
    return address


# Certificates --------------------------------------------------------------------


@dataclass(frozen=True)
class Credentials:
    """What one side shows, and what it wants to see of the other.

    Attributes
    ----------
    authority, certificate, key : str
        PEM. The other side has to show a certificate of the same authority.
    """

    authority: str
    certificate: str
    key: str

    def to_dask(self) -> Security:
        """Return them as dask takes them, for whichever part."""
        from distributed.security import Security

        own: dict[str, str] = {}
        for part in ("client", "scheduler", "worker"):
            own |= {f"tls_{part}_cert": self.certificate, f"tls_{part}_key": self.key}
        return Security(require_encryption=True, tls_ca_file=self.authority, **own)

    def to_file(self) -> bytes:
        """Return all three as one file."""
        return "".join((self.authority, self.certificate, self.key)).encode()

    def context(self) -> ssl.SSLContext:
        """Return what `ssl` needs to connect with them."""
        found = ssl.create_default_context(
            ssl.Purpose.SERVER_AUTH, cadata=self.authority
        )
        # The authority is the server's own and signs nothing else, so that its names
        # need not be known: laptops and clusters change them.
        found.check_hostname = False
        # `load_cert_chain` reads files only.
        handle, name = tempfile.mkstemp()
        try:
            with os.fdopen(handle, "w") as file:
                file.write(self.certificate + self.key)
            found.load_cert_chain(name)
        finally:
            os.unlink(name)
        return found


def load_credentials(path: str | Path) -> Credentials:
    """Read the file that a server wrote for its clients.

    Raises
    ------
    ValueError
        If there is none, or it does not hold two certificates and a key.
    """
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"the certificate {path} cannot be read ({one_line(error)}): copy "
            "client.pem from the server."
        ) from error
    blocks: dict[str, list[str]] = {"key": [], "certificate": []}
    for block in _BLOCK.finditer(content):
        kind = "key" if b"PRIVATE KEY" in block[1] else "certificate"
        blocks[kind].append(block[0].decode("ascii", "replace").strip() + "\n")
    if len(blocks["certificate"]) != 2 or len(blocks["key"]) != 1:
        raise ValueError(
            f"{path} is no certificate of a server: copy client.pem from there, as "
            "`napari-promise serve` wrote it."
        )
    authority, own = blocks["certificate"]
    found = Credentials(authority, own, blocks["key"][0])
    try:
        found.context()
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"the certificate {path} is damaged ({one_line(error)}): copy client.pem "
            "from the server again."
        ) from error
    return found


def make_credentials() -> tuple[Credentials, Credentials]:
    """Make an authority, and a certificate of it for a server and for its clients.

    The authority's key is forgotten at once: it signs these two and nothing else.

    Returns
    -------
    server, client : Credentials
        A client's cannot pass for a server's.
    """
    require_extra()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.timezone.utc)

    def named(what: str) -> x509.Name:
        return x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, f"napari-promise {what}")]
        )

    def made(what: str, key: Any, signer: Any) -> Any:
        return (
            x509.CertificateBuilder()
            .subject_name(named(what))
            .issuer_name(named("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
            .not_valid_after(now + datetime.timedelta(days=_DAYS))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )

    def text(found: Any) -> str:
        content: bytes = found.public_bytes(serialization.Encoding.PEM)
        return content.decode()

    signer = ec.generate_private_key(ec.SECP256R1())
    authority = (
        made("authority", signer, signer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(signer.public_key()),
            critical=False,
        )
        .add_extension(_key_usage(x509, signs=True), critical=True)
        .sign(signer, hashes.SHA256())
    )
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    found = []
    # scheduler and workers call each other: they are both
    for what, uses in (("server", both), ("client", both[1:])):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            made(what, key, signer)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(_key_usage(x509, signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .sign(signer, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        found.append(Credentials(text(authority), text(certificate), secret))
    return found[0], found[1]


def _key_usage(x509: Any, *, signs: bool) -> Any:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def server_folder() -> Path:
    """Return where a server keeps its certificates (not created)."""
    return user_folder("config") / "server"


def server_credentials(folder: Path) -> tuple[Credentials, Path]:
    """Return a server's credentials, made on the spot where there are none.

    Parameters
    ----------
    folder : pathlib.Path
        Created where it is missing, for the user alone.

    Returns
    -------
    Credentials
    pathlib.Path
        ``client.pem``, to be copied to the clients.

    Raises
    ------
    ValueError
        If what is there is damaged.
    """
    server, client = folder / "server.pem", folder / "client.pem"
    if not server.exists() or not client.exists() or _has_expired(server):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        own, others = make_credentials()
        for path, content in ((client, others), (server, own)):
            write_whole(path, content.to_file())
            path.chmod(0o600)
    return load_credentials(server), client


def _has_expired(path: Path) -> bool:
    from cryptography import x509

    own = load_credentials(path).certificate.encode()
    ends = x509.load_pem_x509_certificate(own).not_valid_after_utc
    left = ends - datetime.datetime.now(datetime.timezone.utc)
    return left < datetime.timedelta(days=1)


# Connecting ----------------------------------------------------------------------


def knock(
    address: Address, credentials: Credentials | None, timeout: float = 10.0
) -> None:
    """Find out whether a server lets these credentials in; say clearly why not.

    Parameters
    ----------
    address : Address
    credentials : Credentials or None
        None for a plain connection.
    timeout : float
        Seconds to reach it.

    Raises
    ------
    PermissionError
        If either side refuses the other's certificate, or none was given: trying
        again will not help.
    ConnectionError
        If nothing answers there, or something else does.
    """
    if address.scheme == "tls" and credentials is None:
        raise PermissionError(
            f"{address} wants a certificate: choose client.pem, as `napari-promise "
            "serve` wrote it on the server."
        )
    try:
        plain = socket.create_connection((address.host, address.port), timeout)
    except OSError as error:
        raise ConnectionError(
            f"nothing answers at {address} ({one_line(error)}): is `napari-promise "
            "serve` running there, and does a firewall let you through?"
        ) from error
    with plain:
        if credentials is None:
            if not select.select([plain], [], [], _PLAIN_ANSWER_SECONDS)[0]:
                raise ConnectionError(
                    f"{address} does not answer in plain: write tls:// and choose its "
                    "certificate."
                )
            return
        plain.settimeout(_ANSWER_SECONDS)
        try:
            with credentials.context().wrap_socket(plain) as safe:
                # A refused certificate is told only now, after our own handshake.
                if not safe.recv(1):
                    raise PermissionError(_refused(address))
        except ssl.SSLCertVerificationError as error:
            raise PermissionError(
                f"{address} is not the server that this certificate belongs to "
                f"({error.verify_message}): copy client.pem from it again."
            ) from error
        except (ssl.SSLError, ConnectionError) as error:
            reason = str(getattr(error, "reason", None) or "")
            if "ALERT" in reason or isinstance(error, ConnectionResetError):
                raise PermissionError(_refused(address)) from error
            raise ConnectionError(
                f"what answers at {address} does not speak TLS as this certificate "
                f"wants it ({one_line(error)}): check address and port."
            ) from error
        except TimeoutError as error:
            raise ConnectionError(
                f"what answers at {address} says nothing: check address and port."
            ) from error


def _refused(address: Address) -> str:
    return (
        f"{address} refuses this certificate: copy client.pem from that server again."
    )
