"""What an output of destinations.yml may say, one model a kind.

`environment: production|beta` fills in Audience Manager's own bucket and hosts [batch-data-transfer-overview,
faq-data-collection]; a `bucket` or `host` that is given goes first. No secret stands in a setting: S3 uses
AWS's credential chain, the others name an environment variable (`…_env`) or a key file.
"""

import datetime
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from aam_onboard.errors import ConfigError
from aam_onboard.filenames import object_key, partner_name_problem
from aam_onboard.reading import (
    SECRET_KEYS,
    Flag,
    LocalPath,
    Number,
    Outputs,
    Seconds,
    Settings,
    Text,
    Whole,
    from_text,
    read_as,
    read_yaml,
)

if TYPE_CHECKING:
    from aam_onboard.config import Project

DESTINATIONS_FILE = "destinations.yml"

Environment = Literal["production", "beta"]

BUCKETS: dict[Environment, str] = {
    "production": "demdex-s2s-clients",
    "beta": "demdex-s2s-clients-sandbox-us-east-1",
}
FTP_HOSTS: dict[Environment, str] = {
    "production": "ftp-in.demdex.com",
    "beta": "sandbox-ftp-in.demdex.com",
}
# Adobe names no SFTP host for beta.
SFTP_HOSTS: dict[Environment, str] = {"production": "ftp-in-gtw.demdex.com"}

IMPLICIT_FTPS_PORT = 990

MIB = 1024 * 1024


def _is_host(host: str) -> str:
    try:
        host.encode("idna")  # as the resolver would
    except UnicodeError as error:
        raise ValueError(f"is no name of a server: {error.__cause__ or error}") from None
    if re.search(r"[\s/@?#\[\]]", host):
        raise ValueError("is the server's name alone, without scheme, user or folders")
    return host


# The name or the IP address of a server.
Host = Annotated[Text, AfterValidator(_is_host)]


class EncryptSettings(Settings):
    """PGP for this destination's files [inbound-file-encryption]: the recipient's key, from a file."""

    recipient: Text
    key_file: LocalPath
    # zlib level, 1 to 9: 1 is five times as fast as gpg's default and costs a tenth of the size
    level: Whole = Field(default=1, ge=1, le=9)


class ReceiveSettings(Settings):
    """Where outbound files lie at this output, and what becomes of those that were received."""

    # Of S3 keys, or a folder of the server or directory: `outbound/`. Without it, everything there is looked at.
    prefix: str = ""
    # Of a file that was received: keep it, delete it, or move it below `move_to`.
    after: Literal["keep", "delete", "move"] = "keep"
    move_to: str = "received/"
    # Files end in .gpg or .pgp, and are decrypted with the secret keys of the keyring of who runs this.
    decrypt: Flag = False
    # A batch whose `.info` does not come is loaded when its files have not changed for so long.
    settled_minutes: Number = Field(default=60, ge=0, le=7 * 24 * 60)
    # For how long a batch waits for what its `.info` names; Adobe keeps outbound data for 8 days.
    max_wait_hours: Number = Field(default=48, ge=0, le=8 * 24)

    @model_validator(mode="after")
    def _places_are_paths(self) -> "ReceiveSettings":
        for name in ("prefix", "move_to"):
            value = getattr(self, name)
            if not value.isprintable() or value.startswith("/") or ".." in value.split("/"):
                raise ValueError(f"`{name}` is a folder such as outbound/, without a slash before it or `..`")
        if self.after == "move" and not self.move_to.strip("/"):
            raise ValueError("`move_to` is empty")
        return self


class _Output(Settings):
    # The first folder of every key: the name that Adobe gave to you.
    partner_name: Text
    encrypt: EncryptSettings | None = None
    # Where outbound files come from; without it, none are received here.
    receive: ReceiveSettings | None = None
    # The targets of profiles.yml that may deliver there; without it, all.
    targets: list[Text] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _partner_is_one_folder(self) -> "_Output":
        problem = partner_name_problem(self.partner_name)
        if problem:
            raise ValueError(f"`partner_name` {problem}")
        return self

    def key(self, day: datetime.date, name: str) -> str:
        """Where a file sent on that UTC day goes."""
        return object_key(self.partner_name, day, name)


class DirectorySettings(_Output):
    """A folder of this machine, with the same keys as the bucket."""

    type: Literal["directory"]
    path: LocalPath


class S3Retries(Settings):
    """botocore's own retries."""

    mode: Literal["standard", "adaptive"] = "standard"
    max_attempts: Whole = Field(default=5, ge=1, le=50)


class S3Settings(_Output):
    """A bucket of S3, or of a store that speaks its protocol [authorize-s3-inbound]."""

    type: Literal["s3"]
    environment: Environment | None = None
    bucket: Text
    region: Text | None = None
    # The profile of ~/.aws/config, and the role that Adobe named to you.
    profile: Text | None = None
    role_arn: Text | None = None
    external_id: Text | None = None
    # For stores other than AWS; `tls: false` allows http:// beyond this machine.
    endpoint_url: Text | None = None
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    tls: Flag = True
    ca_file: LocalPath | None = None
    proxy: Text | None = None
    # Audience Manager's bucket needs this ACL; null sends none, for stores that know no ACLs.
    acl: Literal["bucket-owner-full-control"] | None = "bucket-owner-full-control"
    sse: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    sse_kms_key_id: Text | None = None
    # when_supported has the store check a SHA-256 and keep it, which AWS does; many other stores refuse boto3's
    # checksum trailers, so that with `endpoint_url` when_required is the default.
    request_checksum_calculation: Literal["when_supported", "when_required"] = "when_supported"
    part_size: Whole = Field(default=64 * MIB, ge=5 * MIB, le=5 * 1024 * MIB)
    max_concurrency: Whole = Field(default=4, ge=1, le=64)
    # On Spark, the executors send files of more than part_size together; false: the driver does.
    executors: Flag = True
    connect_timeout: Seconds = Field(default=20, gt=0)
    read_timeout: Seconds = Field(default=60, gt=0)
    retries: S3Retries = S3Retries()

    @model_validator(mode="before")
    @classmethod
    def _fill_bucket(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("endpoint_url"):
            raw = {"request_checksum_calculation": "when_required", **raw}
        return _filled(raw, "bucket", BUCKETS)

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "S3Settings":
        if self.sse_kms_key_id and self.sse not in ("aws:kms", "aws:kms:dsse"):
            raise ValueError("`sse_kms_key_id` needs `sse: aws:kms`")
        if self.external_id and not self.role_arn:
            raise ValueError("`external_id` needs `role_arn`")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}|arn:[^/]+", self.bucket):
            raise ValueError("`bucket` is the bucket's name alone, without `s3://` or folders")
        if self.region is not None and not re.fullmatch("[a-z0-9-]{1,63}", self.region):
            raise ValueError("`region` is a name such as us-east-1")
        if self.proxy is not None:
            _split_address("proxy", self.proxy if "//" in self.proxy else f"//{self.proxy}")
        if self.endpoint_url is not None:
            url = _split_address("endpoint_url", self.endpoint_url)
            if url.scheme not in ("http", "https"):
                raise ValueError("`endpoint_url` is an address such as https://s3.example.com")
            if url.username or url.password:
                raise ValueError(
                    "`endpoint_url` holds a user or password; S3 takes credentials from AWS's chain"
                )
            if url.scheme == "http" and self.tls and not _is_loopback(str(url.hostname)):
                raise ValueError("`endpoint_url` is http://, unencrypted; use https://, or say `tls: false`")
        return self


class _Server(_Output):
    @model_validator(mode="before")
    @classmethod
    def _fill_layout(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("environment"):
            raw = {"layout": "flat", **raw}
        return raw

    environment: Environment | None = None
    host: Host
    user: Text
    # The folder of the server under which the keys begin; as a rule the user's home folder.
    directory: str = ""
    # dated: as in the bucket, below `<partner_name>/date=<day>/`. flat: the files alone, as Audience Manager takes them
    # on its own servers [inbound-ftp-filenames]; the default where `environment` stands.
    layout: Literal["dated", "flat"] = "dated"
    timeout: Seconds = Field(default=60, gt=0)
    # After a lost connection: how often to connect anew; seconds before the first time, doubled each time.
    retries: Whole = Field(default=3, ge=0, le=20)
    backoff: Seconds = 2

    @model_validator(mode="after")
    def _directory_is_a_path(self) -> "_Server":
        if not self.directory.isprintable() or ".." in self.directory.split("/"):
            raise ValueError(
                "`directory` is a folder of the server such as /inbound, without `..` or line breaks"
            )
        return self

    def key(self, day: datetime.date, name: str) -> str:
        """Where a file sent on that UTC day goes."""
        return name if self.layout == "flat" else super().key(day, name)


class SftpSettings(_Server):
    """An SFTP server: a key, from a file or ssh-agent, and known hosts enforced [faq-data-collection]."""

    type: Literal["sftp"]
    port: Whole = Field(default=22, ge=1, le=65535)
    # Without `key_file` and `password_env` the keys of ssh-agent are tried.
    key_file: LocalPath | None = None
    passphrase_env: Text | None = None
    password_env: Text | None = None
    known_hosts: LocalPath = Field(default=Path("~/.ssh/known_hosts"), validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _fill_host(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("environment") == "beta" and not raw.get("host"):
            raise ValueError(
                "`host` is missing: Adobe names no SFTP host for beta; put the one you were given"
            )
        return _filled(raw, "host", SFTP_HOSTS)

    @model_validator(mode="after")
    def _passphrase_is_of_a_key(self) -> "SftpSettings":
        if self.passphrase_env is not None and self.key_file is None:
            raise ValueError("`passphrase_env` needs `key_file`")
        return self


class FtpSettings(_Server):
    """An FTP server, over TLS unless `tls: false` says otherwise."""

    type: Literal["ftp"]
    port: Whole = Field(default=21, ge=1, le=65535)
    password_env: Text
    # true: begun by AUTH TLS, on port 21; implicit: from the first byte, on port 990.
    tls: Annotated[Literal[True, False, "implicit"], BeforeValidator(from_text)] = True
    ca_file: LocalPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_host_and_port(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("tls") == "implicit":
            raw = {"port": IMPLICIT_FTPS_PORT, **raw}
        return _filled(raw, "host", FTP_HOSTS)


DestinationSettings = DirectorySettings | S3Settings | SftpSettings | FtpSettings


def place_of(settings: DestinationSettings, root: Path) -> str:
    """Where an output's files go, for the state to know it again: no secret, the same wherever the project lies."""
    match settings:
        case DirectorySettings(path=path):
            inside = path.resolve().is_relative_to(root.resolve())
            where = path.resolve().relative_to(root.resolve()) if inside else path.resolve()
            address = f"directory {where}"
        case S3Settings():
            address = f"{settings.endpoint_url or 's3:/'}/{settings.bucket}"
        case SftpSettings() | FtpSettings():
            folder = settings.directory.strip("/")
            address = f"{settings.type}://{settings.user}@{settings.host}:{settings.port}/{folder}"
    return f"{address.rstrip('/')}/{settings.partner_name}"


class _Named(BaseModel):
    output: DestinationSettings = Field(discriminator="type")


def load_destination(project: "Project", name: str | None) -> tuple[str, DestinationSettings]:
    """The destination `name` of destinations.yml, or its default `target`.

    Raises ConfigError that names the output and the key.
    """
    chosen, settings = _outputs(project).choose(name, DESTINATIONS_FILE, "destination")
    return chosen, parse_destination(chosen, settings, project.root)


def destination_names(project: "Project") -> list[str]:
    """The outputs of destinations.yml, whatever they say. Raises ConfigError."""
    return list(_outputs(project).outputs or {})


def _outputs(project: "Project") -> Outputs:
    path = project.root / DESTINATIONS_FILE
    raw = read_yaml(path)
    if raw is None:
        raise ConfigError(f"{path} is missing: it says where inbound files go; see the README")
    return read_as(Outputs, raw, DESTINATIONS_FILE)


def parse_destination(name: str, raw: dict[str, Any], base: Path | None = None) -> DestinationSettings:
    """One output of destinations.yml, rendered, as settings; relative paths begin at `base`.

    ConfigError names the output and the key; it never shows a value of an unknown key, which may be a secret.
    """
    try:
        settings = _Named.model_validate({"output": raw}).output
    except ValidationError as error:
        raise ConfigError(f"{DESTINATIONS_FILE}: output `{name}`: {_said(raw, error)}") from None
    return settings if base is None else _under(settings, base)


def _filled(raw: Any, key: str, by_environment: dict[Environment, str]) -> Any:
    """The raw settings with what `environment` stands for, unless it is given."""
    if not isinstance(raw, dict) or raw.get(key) or str(raw.get("environment")) not in by_environment:
        return raw
    return {**raw, key: by_environment[raw["environment"]]}


def _under(settings: DestinationSettings, base: Path) -> DestinationSettings:
    updated: dict[str, object] = {field: base / value for field, value in settings if isinstance(value, Path)}
    if settings.encrypt is not None:
        key_file = base / settings.encrypt.key_file
        updated["encrypt"] = settings.encrypt.model_copy(update={"key_file": key_file})
    return settings.model_copy(update=updated)


def _split_address(key: str, address: str) -> SplitResult:
    """A URL with a host and a port that can be; the message shows no part of it, for it may hold a password."""
    example = f"`{key}` is an address such as https://s3.example.com"
    try:
        url = urlsplit(address)
        if not url.hostname or url.port == 0:
            raise ValueError(example)
        _is_host(url.hostname)
    except ValueError:
        raise ValueError(example) from None
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _said(raw: object, error: ValidationError) -> str:
    """pydantic's first finding in our words; the others come when that one is mended."""
    if not isinstance(raw, dict):
        return "is no mapping; give keys such as `type` and `partner_name`"
    found = error.errors(include_url=False)[0]
    # The place begins with `output` and the kind (s3, sftp…): the reader looks for the key after them.
    key = ".".join(str(step) for step in found["loc"][2:])
    context = found.get("ctx", {})
    match found["type"]:
        case "union_tag_not_found":
            said = "key `type` is missing: directory, s3, sftp or ftp"
        case "union_tag_invalid":
            said = f"key `type` is {context['tag']!r}: directory, s3, sftp or ftp"
        case "extra_forbidden" if any(word in key.lower() for word in SECRET_KEYS):
            said = f"key `{key}` is unknown, and no secret stands in this file: {_where_secrets_go(raw)}"
        case "extra_forbidden":
            said = f"key `{key}` is unknown; known: {', '.join(_known_keys(raw, found['loc']))}"
        case "missing":
            said = f"key `{key}` is missing"
            if key in ("bucket", "host"):
                said += " (`environment: production` fills it in)"
        case "is_instance_of":
            said = f"key `{key}` is no path"
        case "value_error":
            # Our own checks of several keys begin with the key; those of one key do not.
            said = f"key `{key}` {context['error']}" if key else f"key {context['error']}"
        case _:
            said = f"key `{key}`: {found['msg']}"
    return said


def _where_secrets_go(raw: dict[str, Any]) -> str:
    if raw.get("type") == "s3":
        return "S3 takes credentials from AWS's chain (environment, `profile`, `role_arn`)"
    return "name an environment variable with `password_env` or `passphrase_env`, or a `key_file`"


def _known_keys(raw: dict[str, Any], place: tuple[int | str, ...]) -> list[str]:
    models: dict[object, type[BaseModel]] = {
        "directory": DirectorySettings,
        "s3": S3Settings,
        "sftp": SftpSettings,
        "ftp": FtpSettings,
        "encrypt": EncryptSettings,
        "receive": ReceiveSettings,
        "retries": S3Retries,
    }
    model = models.get(place[-2] if len(place) > 3 else raw.get("type"), DirectorySettings)
    return sorted(model.model_fields)
