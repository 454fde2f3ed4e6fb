"""How a stage ended: one name for each way, in order of precedence."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """One outcome for each way to end; when several hold, the first of this list is told."""

    SANDBOX_ERROR = "sandbox-error"
    CANCELLED = "cancelled"
    WALL_TIME_LIMIT = "wall-time-limit"
    CPU_TIME_LIMIT = "cpu-time-limit"
    MEMORY_LIMIT = "memory-limit"
    STDOUT_LIMIT = "stdout-limit"
    STDERR_LIMIT = "stderr-limit"
    DISK_LIMIT = "disk-limit"
    FILE_SIZE_LIMIT = "file-size-limit"
    PROCESS_LIMIT = "process-limit"
    SIGNALLED = "signalled"
    NONZERO_EXIT = "nonzero-exit"
    OK = "ok"
