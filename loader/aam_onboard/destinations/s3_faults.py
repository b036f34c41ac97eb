"""What a store of S3's protocol refuses, and what fails before it answers, in our words: what is wrong, what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aam_onboard.destinations.common import reason
from aam_onboard.destinations.settings import S3Settings
from aam_onboard.errors import AamError, ConfigError, DeliveryError

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

NOT_THERE = {"404", "NoSuchKey", "NotFound"}
# HEAD has no body: 400 and 403 hide wrong, expired and insufficient credentials alike.
DENIED = {
    "400",
    "403",
    "AccessDenied",
    "AccessDeniedException",
    "Forbidden",
    "AllAccessDisabled",
    "AccountProblem",
}
_WRONG_KEY = {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
_OVERLOADED = {
    "500",
    "502",
    "503",
    "504",
    "InternalError",
    "ServiceUnavailable",
    "SlowDown",
    "RequestTimeout",
}
_NO_TRAILERS = {"411", "MissingContentLength", "NotImplemented", "501"}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_SAID = {
    "NoSuchBucket": "there is no such bucket; check `bucket` or `environment` in destinations.yml",
    "AccessControlListNotSupported": (
        "the bucket takes no ACLs; set `acl: null`, unless it is Audience Manager's own"
    ),
    **dict.fromkeys(
        ("RequestTimeTooSkewed", "RequestExpired"),
        "this machine's clock is wrong, so that the store refuses its signatures; set the clock",
    ),
    **dict.fromkeys(
        (
            "301",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "InvalidLocationConstraint",
            "PermanentRedirect",
            "TemporaryRedirect",
        ),
        "the bucket is in another region; put its `region` into destinations.yml",
    ),
}


def code_of(error: ClientError) -> str:
    """The store's own name for its refusal."""
    return str(error.response.get("Error", {}).get("Code", ""))


def said_of(error: ClientError, settings: S3Settings) -> str:
    """The store's refusal in our words, and what to do."""
    code = code_of(error)
    role = f" for role {settings.role_arn}" if settings.role_arn else ""
    if error.operation_name == "AssumeRole" and code in DENIED:
        said = (
            f"the credentials may not assume {settings.role_arn}; check `role_arn`, and its trust with Adobe"
        )
    elif code in _WRONG_KEY:
        said = f"wrong credentials{role} ({code}); check AWS_ACCESS_KEY_ID and its secret, or `profile`"
    elif code in _EXPIRED:
        said = f"the credentials{role} have expired ({code}); renew them, and deliver again"
    elif code in DENIED:
        said = (
            f"access denied{role}; ask Adobe to let these credentials write to {settings.partner_name}/ "
            "with ACL bucket-owner-full-control, or check `bucket`, `partner_name` and `role_arn`"
        )
    elif code in _OVERLOADED:
        attempts = settings.retries.max_attempts
        said = f"the store answers {code}, in {attempts} attempts; deliver again later, or raise `retries`"
    elif code == "407":
        said = f"the proxy refuses the connection (407); check {_where_the_proxy_stands(settings)}"
    elif code in _NO_TRAILERS:
        said = f"the store answers {code}; set `request_checksum_calculation: when_required`"
    elif code in _DAMAGED:
        said = f"the store received damaged bytes ({code}); deliver again"
    elif code in _SAID:
        said = _SAID[code]
    else:
        message = str(error.response.get("Error", {}).get("Message", ""))
        said = f"the store refuses {error.operation_name}: {code} {' '.join(message.split())[:200]}".strip()
    return said


def said_before_the_store(error: BotoCoreError, settings: S3Settings) -> tuple[type[AamError], str]:
    """What went wrong before the store could answer: its kind of error and our words.

    botocore's own text is not shown where it may hold an address with a password in it, such as a proxy's.
    """
    from botocore import exceptions as e

    where = settings.endpoint_url or "AWS"
    kind: type[AamError] = DeliveryError
    match error:
        case e.NoCredentialsError() | e.PartialCredentialsError():
            kind = ConfigError
            said = "no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `profile`"
        case e.ProfileNotFound():
            kind = ConfigError
            said = f"profile `{settings.profile}` is not in ~/.aws/config; check `profile` and AWS_PROFILE"
        case e.ProxyConnectionError() | e.InvalidProxiesConfigError():
            answer = re.search(
                "Tunnel connection failed: ([0-9]{3}[A-Za-z -]*)", str(error.kwargs.get("error"))
            )
            problem = f"refuses the connection ({answer[1].strip()})" if answer else "does not answer"
            said = f"the proxy {problem}; check {_where_the_proxy_stands(settings)}"
        case e.SSLError():
            said = f"the certificate of {where} does not verify; check `endpoint_url`, or name its `ca_file`"
        case e.ConnectTimeoutError() | e.EndpointConnectionError():
            said = f"{where} can't be reached; check the network, `endpoint_url`, `region` and `proxy`"
        case e.ConnectionClosedError() | e.ReadTimeoutError() | e.HTTPClientError():
            said = (
                f"the connection to {where} broke in {settings.retries.max_attempts} attempts; deliver again"
            )
        case e.CredentialRetrievalError() | e.SSOError() | e.UnauthorizedSSOTokenError():
            said = (
                f"AWS credentials can't be fetched ({type(error).__name__}); log in again, or check `profile`"
            )
        case _:
            said = f"{type(error).__name__}: {reason(error)}"
    return kind, said


def _where_the_proxy_stands(settings: S3Settings) -> str:
    return "`proxy` in destinations.yml" if settings.proxy else "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
