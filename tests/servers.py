"""Real servers on loopback: S3 (moto over HTTP), SFTP (asyncssh), FTP with and without TLS (pyftpdlib).

Each is a context manager that yields what a client needs to know, and takes faults that a test sets while it runs.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"

# What a store says with each status that a test asks for.
_S3_CODES = {
    400: "ExpiredToken",
    403: "AccessDenied",
    411: "MissingContentLength",
    500: "InternalError",
    503: "SlowDown",
}

# environ of a request → nothing, a status, a status with the code, "reset" of the connection, "half" of an answer
S3Fault = Callable[[dict[str, Any]], int | tuple[int, str] | str | None]
# a header of every answer to such a fault
Headers = list[tuple[str, str]]


@dataclass
class S3Server:
    endpoint: str
    fault: S3Fault | None = None
    fault_headers: Headers = field(default_factory=list)
    # Seconds after which the credentials of an assumed role expire; as asked for, unless it is set.
    role_expires_in: int | None = None
    requests: list[str] = field(default_factory=list)  # "METHOD path?query", also of those that failed
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def s3_server(certificate: Path | None = None) -> Iterator[S3Server]:
    """moto's S3 and STS; `certificate` (a PEM with its key) makes it HTTPS."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    moto = DomainDispatcherApplication(create_backend_app)
    state = S3Server("")

    class Quiet(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        state.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{query}")
        state.headers.append({name: value for name, value in environ.items() if name.startswith("HTTP_")})
        fault = state.fault(environ) if state.fault else None
        if fault == "reset":
            # Linger 0 makes the kernel answer with RST.
            connection = environ["werkzeug.socket"]
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError("as told")
        if fault not in (None, "half"):
            status, code = fault if isinstance(fault, tuple) else (fault, _S3_CODES[int(fault)])
            _drain(environ)
            said = f"<Error><Code>{code}</Code><Message>as told</Message></Error>"
            if environ["PATH_INFO"] == "/":  # STS wraps it
                said = f"<ErrorResponse>{said}</ErrorResponse>"
            body = said.encode()
            headers = [("Content-Type", "application/xml"), ("Connection", "close"), *state.fault_headers]
            start_response(f"{status} Fault", headers)
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
        if environ["PATH_INFO"] == "/" and state.role_expires_in is not None:
            ends = datetime.now(timezone.utc) + timedelta(seconds=state.role_expires_in)
            # As long as before, so that the Content-Length holds.
            new = f"<Expiration>{ends:%Y-%m-%dT%H:%M:%S}".encode()
            pattern = rb"<Expiration>[0-9T:-]{19}"
            return [re.sub(pattern, new, part) for part in moto(environ, start_response)]
        answer = moto(environ, start_response)
        if fault == "half":  # of the body, and then nothing more
            body = b"".join(answer)
            return [body[: len(body) // 2]]
        return answer

    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = make_server(HOST, 0, application, threaded=True, request_handler=Quiet, ssl_context=context)
    state.endpoint = f"http{'s' if certificate else ''}://{HOST}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _drain(environ: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


@dataclass
class Proxy:
    url: str
    hosts: dict[str, int]  # names that it knows, and the port of this machine that they stand for
    refusal: str | None = (
        None  # the status with which it refuses everything, such as "407 Proxy Authentication"
    )
    asked_for: list[str] = field(default_factory=list)  # host:port of each request or tunnel


@contextmanager
def proxy_server(hosts: dict[str, int]) -> Iterator[Proxy]:
    """An HTTP proxy: tunnels (CONNECT), and plain requests, one a connection."""
    listener = socket.create_server((HOST, 0))
    state = Proxy(f"http://{HOST}:{listener.getsockname()[1]}", hosts)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=act, args=(connection,), daemon=True).start()

    def act(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := connection.recv(65536)):
                    return
                head += data
            method, target, rest = head.split(b" ", 2)
            place = target.decode().removeprefix("http://").partition("/")[0]
            state.asked_for.append(place)
            port = state.hosts.get(place.partition(":")[0])
            if state.refusal or port is None:
                connection.sendall(f"HTTP/1.1 {state.refusal or '502 Bad Gateway'}\r\n".encode())
                connection.sendall(b"Content-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection((HOST, port)) as upstream:
                if method == b"CONNECT":
                    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    path = target.removeprefix(b"http://" + place.encode())
                    line, _, headers = rest.partition(b"\r\n")
                    upstream.sendall(b" ".join((method, path, line)) + b"\r\nConnection: close\r\n" + headers)
                back = threading.Thread(target=pump, args=(upstream, connection), daemon=True)
                back.start()
                pump(connection, upstream)
                back.join()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@dataclass
class SftpServer:
    port: int
    root: Path
    known_hosts: Path
    key_file: Path
    # Called before the server acts, with the operation and its path or bytes so far; it may raise OSError (the
    # server's refusal), or return "drop" to cut the connection, or "gap" to cut it and still do what had been
    # asked for after that.
    fault: Callable[[str, Any], str | None] | None = None
    operations: list[str] = field(default_factory=list)
    posix_rename: bool = True
    public_keys: set[str] = field(default_factory=set)  # type and key, without comment
    host_keys: list[str] = field(default_factory=list)  # likewise, in the order of the kinds asked for

    def authorize(self, public_key: Path) -> None:
        self.public_keys.add(" ".join(public_key.read_text().split()[:2]))


@contextmanager
def sftp_server(
    folder: Path,
    passphrase: str | None = None,
    password: str | None = None,
    host_keys: Sequence[str] = ("ssh-ed25519",),
) -> Iterator[SftpServer]:
    """asyncssh's server for user `loader`; files lie in `folder`/files, keys beside them."""
    import asyncssh

    root = folder / "files"
    root.mkdir(parents=True)
    server_keys = [asyncssh.generate_private_key(kind) for kind in host_keys]
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    key_file = folder / "id_ed25519"
    key_file.write_bytes(user_key.export_private_key("openssh", passphrase))
    state = SftpServer(0, root, folder / "known_hosts", key_file)
    state.public_keys.add(" ".join(_words(user_key)[:2]))

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel, chroot=str(root))
            self._channel = channel
            self._written = 0
            self._dropped = False

        def _fault(self, operation: str, about: Any) -> None:
            state.operations.append(operation)
            fault = state.fault(operation, about) if state.fault else None
            if fault:
                self._channel.get_connection().abort()
            self._dropped = self._dropped or fault == "drop"
            if fault or self._dropped:
                raise asyncssh.SFTPConnectionLost("dropped")

        def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
            self._fault("open", path.decode())
            return super().open(path, pflags, attrs)

        def write(self, file_obj: Any, offset: int, data: bytes) -> int:
            self._written += len(data)
            self._fault("write", self._written)
            return super().write(file_obj, offset, data)

        def read(self, file_obj: Any, offset: int, size: int) -> bytes:
            self._fault("read", offset)
            return super().read(file_obj, offset, size)

        def rename(self, oldpath: bytes, newpath: bytes) -> None:
            self._fault("rename", newpath.decode())
            super().rename(oldpath, newpath)

        def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
            self._fault("posix_rename", newpath.decode())
            if not state.posix_rename:
                raise asyncssh.SFTPOpUnsupported("no such extension")
            super().posix_rename(oldpath, newpath)

        def mkdir(self, path: bytes, attrs: Any) -> None:
            self._fault("mkdir", path.decode())
            super().mkdir(path, attrs)

        def stat(self, path: bytes) -> Any:
            self._fault("stat", path.decode())
            return super().stat(path)

        def scandir(self, path: bytes) -> Any:
            self._fault("list", path.decode())
            return super().scandir(path)

    connections: list[Any] = []

    class Login(asyncssh.SSHServer):
        def connection_made(self, conn: Any) -> None:
            connections.append(conn)

        def begin_auth(self, username: str) -> bool:
            return True

        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: Any) -> bool:
            return username == "loader" and " ".join(_words(key)[:2]) in state.public_keys

        def password_auth_supported(self) -> bool:
            return password is not None

        def validate_password(self, username: str, given: str) -> bool:
            return username == "loader" and given == password

    loop = asyncio.new_event_loop()

    async def listen() -> Any:
        return await asyncssh.listen(
            HOST,
            0,
            server_host_keys=server_keys,
            server_factory=Login,
            sftp_factory=Files,
            reuse_address=True,
        )

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(20)
    state.port = server.get_port()
    state.host_keys = [" ".join(_words(key)[:2]) for key in server_keys]
    state.known_hosts.write_text(f"[{HOST}]:{state.port} {state.host_keys[0]}\n")
    try:
        yield state
    finally:

        async def end() -> None:
            server.close()
            for connection in connections:
                connection.abort()
            await asyncio.sleep(0)  # for the transports to close
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _words(key: Any) -> list[str]:
    return list(key.export_public_key().decode().split())


@dataclass
class FtpServer:
    port: int
    root: Path
    # As the SFTP server's: raise OSError to refuse; return "drop" to cut both connections, "end" to send no more of a
    # file, or the answer with which to end the transfer.
    fault: Callable[[str, Any], str | None] | None = None
    commands: list[str] = field(default_factory=list)
    reused_sessions: list[bool] = field(default_factory=list)
    # Commands that the server pretends not to know.
    unknown: set[str] = field(default_factory=set)
    # Commands that are not for this user.
    refused: set[str] = field(default_factory=set)


@contextmanager
def ftp_server(
    root: Path,
    certificate: Path | None = None,
    *,
    password: str = "s3cret-word",
    demand_reuse: bool = False,
    tls_1_2: bool = False,
    implicit: bool = False,
    passive_address: str | None = None,
) -> Iterator[FtpServer]:
    """pyftpdlib for user `loader`; `certificate` offers TLS (`implicit`: from the first byte), `demand_reuse` refuses
    data connections that do not resume the control connection's session, as ProFTPD does by default;
    `passive_address` is what it tells instead of its own, as behind a NAT that it does not know."""
    import logging

    from OpenSSL import SSL
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.filesystems import AbstractedFS
    from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
    root.mkdir(parents=True, exist_ok=True)
    authorizer = DummyAuthorizer()
    authorizer.add_user("loader", password, str(root), perm="elradfmwMT")
    state = FtpServer(0, root)

    class Read:
        """A file that is sent, with faults."""

        def __init__(self, file: Any, control: Any) -> None:
            self._file, self._control = file, control

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def read(self, size: int) -> bytes:
            fault = state.fault("read", self._file.tell()) if state.fault else None
            if fault == "drop":  # once this answer has left
                for end in (
                    self._control.socket.close,
                    self._control.data_channel.close,
                    self._control.close,
                ):
                    self._control.ioloop.call_later(0, end)
            return b"" if fault == "end" else bytes(self._file.read(size))

    class Files(AbstractedFS):
        def open(self, filename: str, mode: str) -> Any:
            if state.fault:
                state.fault("open", filename)
            file = super().open(filename, mode)
            return Read(file, self.cmd_channel) if mode == "rb" else file

        def rename(self, source: str, target: str) -> None:
            if state.fault:
                state.fault("rename", target)
            super().rename(source, target)

        def chdir(self, path: str) -> None:
            if state.fault:
                state.fault("chdir", path)
            super().chdir(path)

        def mkdir(self, path: str) -> None:
            if state.fault:
                state.fault("mkdir", path)
            super().mkdir(path)

    base_data: Any = TLS_DTPHandler if certificate else DTPHandler
    base_control: Any = TLS_FTPHandler if certificate else FTPHandler

    class Data(base_data):  # type: ignore[misc]
        def handle_read(self) -> None:
            fault = state.fault("write", self.tot_bytes_received) if state.fault and self.receive else None
            if fault == "drop":
                control = self.cmd_channel
                control.socket.close()  # without a word on the control connection
                self.close()
                control.close()
                return
            if fault:
                self._resp = (fault, logging.getLogger(__name__).debug)
                self.close()
                return
            super().handle_read()

        handle_read_event = handle_read  # where pyftpdlib calls it

        def handle_ssl_established(self) -> None:
            reused = bool(SSL._lib.SSL_session_reused(self.socket._ssl))
            state.reused_sessions.append(reused)
            if demand_reuse and not reused:
                self.cmd_channel.respond("522 SSL connection failed: session reuse required")
                self.close()

    class Control(base_control):  # type: ignore[misc]
        def handle(self) -> None:
            if implicit:
                self.secure_connection(self.ssl_context)
            super().handle()

        def process_command(self, cmd: str, *args: Any, **kwargs: Any) -> None:
            state.commands.append(f"{cmd} {args[0]}" if args and cmd != "PASS" else cmd)
            if cmd in state.unknown:
                self.respond(f"502 Command {cmd} not implemented.")
                return
            if cmd in state.refused:
                self.respond(f"530 {cmd} is not for you.")
                return
            super().process_command(cmd, *args, **kwargs)

    Control.authorizer = authorizer
    Control.dtp_handler = Data
    Control.abstracted_fs = Files
    Control.banner = "ready"
    Control.use_sendfile = False
    Control.auth_failed_timeout = 0
    Control.masquerade_address = passive_address
    if certificate:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey_file(str(certificate))
        context.set_session_id(b"loader-tests")
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        if tls_1_2:
            context.set_options(SSL.OP_NO_TLSv1_3)
        Control.ssl_context = context
        Control.tls_control_required = True
        Control.tls_data_required = True
    server = FTPServer((HOST, 0), Control, ioloop=IOLoop())
    state.port = server.address[1]
    running = True

    def serve() -> None:
        while running:
            server.ioloop.loop(timeout=0.02, blocking=False)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        running = False
        thread.join()
        server.close_all()


@dataclass(frozen=True)
class Certificate:
    ca_file: Path
    certificate: Path  # with its key


def make_certificate(folder: Path, name: str = "test", hosts: Sequence[str] = ("localhost",)) -> Certificate:
    """An authority, and a certificate of it for 127.0.0.1 and these names."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.now(timezone.utc)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])

    def builder(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
        )
        .sign(ca_key, hashes.SHA256())
    )
    own = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]), key.public_key())
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(HOST)), *(x509.DNSName(host) for host in hosts)]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    ca_file, certificate = folder / f"{name}-ca.pem", folder / f"{name}.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    certificate.write_bytes(
        own.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificate(ca_file, certificate)
