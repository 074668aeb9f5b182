"""The errors that callers may meet. Each message says what was expected and what came."""


class PerceptionError(Exception):
    """Base of all errors that this package raises on purpose: one clear line, fit for an operator."""


class ConfigError(PerceptionError):
    """A configuration file or parameter is unknown, of the wrong type or out of range."""


class FrameError(PerceptionError):
    """A camera frame (or its calibration) cannot be used; the next one may be fine."""


class ModelError(PerceptionError):
    """A model file is missing, corrupt, of the wrong hash or does not honour the model contract."""


class DatasetError(PerceptionError):
    """A data set, picture or recording on disk is missing or broken."""


class MissingDependencyError(PerceptionError):
    """An optional library is needed for what was asked, and is not installed."""


def one_line(error: BaseException, most: int | None = None) -> str:
    """An error's words on one line, `most` characters of them (None: all); the name of its type where it has no words."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def unexpected(error: BaseException) -> str:
    """What is said, on one line, of an error that nobody raised on purpose."""
    return f"unexpected {type(error).__name__}: {one_line(error)}"
