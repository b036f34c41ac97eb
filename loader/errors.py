"""Errors that a person can act on, each with the exit code of its kind."""


class AamError(Exception):
    """One clear line: what is wrong, where, and what to do. Exit code 1: a delivery or a check failed."""

    exit_code = 1


class DeliveryError(AamError):
    """A file could not be made or did not reach its destination."""


class ConfigError(AamError):
    """Usage or configuration: a setting, an argument, a missing build."""

    exit_code = 2


class GuardError(AamError):
    """A limit past which a delivery stops and asks."""

    exit_code = 3


class LockedError(AamError):
    """Another run holds the lock."""

    exit_code = 4
