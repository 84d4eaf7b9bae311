"""Errors of the sweep layer that a user can act on."""

from trainables.errors import ResultsError

AUTHENTICATION_ADVICE = (
    "put the cluster's token into ~/.ray/auth_token (on its head: ray get-auth-token), and: export RAY_AUTH_MODE=token"
)
"""What to do where a cluster wants a token."""


class SweepError(Exception):
    """A user's mistake: the message says where, what was found, what is allowed and what to do next. Exit code 2."""


class RunStoppedError(Exception):
    """A run had to stop, through no mistake of the user's; what was committed stands. Exit code 1."""


class TrialsFailAlikeError(RunStoppedError):
    """The first trials of a run failed of the same error: the message says which, where its log is, how to go on."""


class TaskFailedError(RunStoppedError):
    """A task that prepares a sweep failed, through no mistake of the user's that it could name."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message, details)
        self.message = message
        self.details = details
        """The traceback of its worker."""

    def __str__(self) -> str:
        return self.message


class StorageError(RunStoppedError, ResultsError):
    """A disk or an object store did not do what was asked: the message says where, what, and what the system said.

    What was published before stands. Carries its message alone, so it travels between processes. Exit code 1.
    """


class SweepGoneError(StorageError):
    """A file of the sweep's own is not there any more: this run, and its trials, begin no further write."""


class IrregularFileError(StorageError):
    """What is at a path of a sweep is a link, a folder in place of a file, or the like: see ``LocalStorage``."""


class SweepExistsError(SweepError):
    """The sweep is there already, and nobody said that it should go on."""


class NothingToUnlearnError(SweepError):
    """The base model has memorized nothing of any forget set: there is nothing that unlearning could remove."""


class LedgerWarning(UserWarning):
    """Something of a ledger is not as it should be: the message names it, and says what was done about it."""


class SweepInterruptedError(Exception):
    """The sweep was stopped by a signal after everything had been committed. Exit code 128 + the signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


class BudgetSpentError(Exception):
    """The sweep was driven for as long as its budget allows; its trials stop in good order. Exit code 0."""
