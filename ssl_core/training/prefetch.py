"""The next batch is made and sent to the GPU while the step on the present one runs.

One background thread, one batch ahead. Batches come in the order in which they were made and hold the same numbers with
and without it, as long as what makes them draws from generators of its own.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import torch

from ssl_core.training.contract import Batch

T = TypeVar("T")
_END = object()


def prefetched(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches of CPU tensors -> the same on the device.

    On CUDA, a batch is made in the background, pinned, and copied on a stream of its own while the step before it runs.
    Elsewhere it is made when it is asked for: a trial on the CPU has one core, and nothing runs beside it.

    Raises what making a batch raises, after the batches before it were given.
    """
    if device.type != "cuda":
        yield from ({name: tensor.to(device) for name, tensor in batch.items()} for batch in batches)
        return
    copies = _CudaCopies(device)
    for sent, arrived in one_ahead(copies.send(batch) for batch in batches):
        copies.receive(sent, arrived)
        yield sent


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items in their order; while one is used, the next is made in a background thread.

    The thread ends, and a generator given as `items` is closed, when the items do, when making one raises (raised
    here, after the items before it), and when the caller stops early.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        try:
            coming = thread.submit(next, iterator, _END)
            while (item := coming.result()) is not _END:
                coming = thread.submit(next, iterator, _END)
                yield cast(T, item)
        finally:
            if hasattr(iterator, "close"):
                thread.submit(iterator.close).result()


class _CudaCopies:
    """Copies from pinned memory on a side stream."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def send(self, batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        """Start the copies; the event says when they are there. Pinned memory is kept by torch until then."""
        arrived = torch.cuda.Event()
        with torch.cuda.stream(self.stream):
            sent = {name: tensor.pin_memory().to(self.device, non_blocking=True) for name, tensor in batch.items()}
            arrived.record(self.stream)
        return sent, arrived

    def receive(self, sent: Batch, arrived: torch.cuda.Event) -> None:
        """What the present stream does next waits for the copies; no thread does."""
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(arrived)
        for tensor in sent.values():
            tensor.record_stream(stream)  # else its memory could be given away while the step still reads it
