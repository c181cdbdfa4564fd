"""What a user can mend: one root, so that the command line turns each into two lines.

Anything else that is raised is our mistake and keeps its traceback.
"""


class EarshotError(Exception):
    """Something the user can mend.

    Args:
        message: What was wrong and where (file, line, key).
        hint: What is allowed, or what to do.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(EarshotError):
    """A setting is missing, unknown, of the wrong type or out of range.

    Args:
        message: What was wrong and where.
        hint: What is allowed, or what to do.
        key: The setting, like `alerts.loud.labels`, where the message lacks its file and line.
    """

    def __init__(self, message: str, *, hint: str, key: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.key = key


class AudioError(EarshotError):
    """A recording or a stream cannot be read."""


class DeviceError(EarshotError):
    """A microphone cannot be found or opened."""


class DeviceBusyError(DeviceError):
    """Another program records from the microphone."""


class BundleError(EarshotError):
    """A model folder is damaged, does not fit this agent, or computes something else here."""


class BrokerError(EarshotError):
    """The broker's address or credentials cannot be used."""


class StoreError(EarshotError):
    """A database or the state folder cannot be used."""


class CalibrationError(EarshotError):
    """A calibration is refused: the tone, the level or the offset is in doubt."""


class InstallError(EarshotError):
    """The service cannot be put in place, or taken away."""


class UpdateError(EarshotError):
    """A release cannot be fetched, or what was fetched is not to be trusted."""


class BuildError(EarshotError):
    """Training data or a network cannot be turned into a bundle."""
