"""What the library raises."""

import enum


class ErrorCode(enum.IntEnum):
    """Why a call was refused; the numbers never change."""

    BAD_ARGUMENT = 1
    BAD_PLAN = 2
    NOT_FINITE = 3
    NOT_A_FRAME = 4
    UNKNOWN_VERSION = 5
    TRUNCATED = 6
    TRAILING_BYTES = 7
    CHECKSUM_MISMATCH = 8
    WRONG_PLAN = 9
    WRONG_ROUND = 10
    WRONG_CLIENT = 11
    DUPLICATE_CLIENT = 12
    MALFORMED = 13
    TOO_LARGE = 14
    EMPTY = 15
    WRONG_SEED = 16


class Error(ValueError):
    """The one exception of the library.

    code: an ErrorCode. offset: the byte in the frame, or the position in the plan, at which the trouble was found; or None.
    """

    def __init__(self, message: str, code: int, offset: int | None = None) -> None:
        super().__init__(message, code, offset)
        self.code = ErrorCode(code)
        self.offset = offset

    def __str__(self) -> str:
        return str(self.args[0])
