"""Whether a trial failed for want of memory: of the GPU, of the process, or of the node."""

import errno
import re

_TEXTS = re.compile(
    "|".join(
        (
            r"\bOutOfMemoryError\b",  # torch's and Ray's
            r"CUDA (error: )?out of memory",
            r"HIP out of memory",
            r"CU\w+_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN want a workspace of their own
            r"\bMemoryError\b",  # Python's; numpy's is _ArrayMemoryError
            r"\b_ArrayMemoryError\b",
            r"std::bad_alloc",
            r"DefaultCPUAllocator: (can't allocate|not enough) memory",
            r"\[Errno 12\]|Cannot allocate memory",
            r"due to the node running low on memory",  # Ray's memory monitor
        )
    )
)


def is_out_of_memory(error: BaseException | str) -> bool:
    """Whether an exception, or the text of one that came from another process, says that memory ran out.

    A worker that was killed by a signal does not say so: the kernel's OOM killer is one of several who send it, and
    Ray's list of causes that it guesses at does not count.
    """
    if isinstance(error, str):
        return _TEXTS.search(error) is not None
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    # the name counts too: torch's and Ray's are no MemoryError, and neither library is needed to tell
    return is_out_of_memory(f"{type(error).__name__}: {error}")
