"""An encoder with its preprocessing: files in, features out.

    encoder = registry.pull.load("cross-modal-points@champion")
    features = encoder.encode_ply(["chair.ply", "lamp.splat"])         # float32 [2, F]

Inputs stream through in batches. Features depend on the file and the seed, not on what else is encoded; the last digits
of a float32 may differ between batch sizes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.gaussian_file import read_gaussians
from ssl_core.data.gaussians import GaussianCloud
from ssl_core.encode.images import Picture, image_batch
from ssl_core.encode.points import points_input
from ssl_core.errors import ConfigError
from ssl_core.models.bundle import EncoderCard
from ssl_core.models.encoder import Encoder, ImageContract, PointsContract
from ssl_core.models.modes import device_of

Features = NDArray[np.float32]
Item = TypeVar("Item")
BATCH = 32


@dataclass(frozen=True, eq=False)
class ReadyEncoder:
    """A live encoder, what it is, and the way to it from files.

    Args:
        encoder: in evaluation mode, on the device where it shall run; to train it further, take this module.
        card: contract, backbone and lineage.
        reference: where it came from: `name/version`, or a folder.
    """

    encoder: Encoder
    card: EncoderCard
    reference: str

    @property
    def contract(self) -> PointsContract | ImageContract:
        """What it reads."""
        return self.encoder.contract

    @property
    def feature_dim(self) -> int:
        """F."""
        return self.encoder.feature_dim

    def encode_ply(
        self, files: Path | str | Sequence[Path | str], *, batch: int = BATCH, seed: int = 0, repeat: bool = False
    ) -> Features:
        """[files, F] of Gaussian files: .ply of any dialect, .splat, .spz, .sog. One file counts as a list of one.

        Args:
            files: one object each, upright (z up).
            batch: files held at a time.
            seed: of the points that are chosen.
            repeat: see `points_input`.

        Raises:
            GaussianFileError: a file is missing or damaged.
            InfeasibleError: a file lacks a feature group of the encoder's, or keeps too few Gaussians.
            ConfigError: this encoder reads images.
        """
        contract = self._points()
        paths = [files] if isinstance(files, Path | str) else files

        def read(some: list[Path | str]) -> Tensor:
            return _stacked(
                points_input(read_gaussians(file).cloud, contract, seed=seed, repeat=repeat, what=str(file))
                for file in some
            )

        return self._encode(paths, batch, read)

    def encode_gaussians(
        self,
        clouds: GaussianCloud | Iterable[GaussianCloud],
        *,
        batch: int = BATCH,
        seed: int = 0,
        repeat: bool = False,
    ) -> Features:
        """[clouds, F] of clouds in memory. Arguments and errors are those of `encode_ply`."""
        contract = self._points()
        given = [clouds] if isinstance(clouds, GaussianCloud) else clouds
        numbered = ((f"cloud {i}", cloud) for i, cloud in enumerate(given))

        def read(some: list[tuple[str, GaussianCloud]]) -> Tensor:
            return _stacked(points_input(cloud, contract, seed=seed, repeat=repeat, what=name) for name, cloud in some)

        return self._encode(numbered, batch, read)

    def encode_images(self, pictures: Picture | Sequence[Picture], *, batch: int = BATCH) -> Features:
        """[pictures, F] of image files or uint8 [H, W, 3] arrays. One picture counts as a list of one.

        Several views of one object: encode each and take the elementwise maximum, as the evaluation does.

        Raises:
            ImageError: a file is missing or damaged, or an array is no picture.
            ConfigError: this encoder reads points.
        """
        contract = self.contract
        if not isinstance(contract, ImageContract):
            raise ConfigError(f"{self.reference} reads Gaussians, not images; use encode_ply, or load an image encoder")
        given = [pictures] if isinstance(pictures, Path | str | np.ndarray) else pictures
        numbered = enumerate(given)

        def read(some: list[tuple[int, Picture]]) -> Tensor:
            return image_batch([picture for _, picture in some], contract, some[0][0])

        return self._encode(numbered, batch, read)

    def encode(self, prepared: NDArray[np.float32] | Tensor, *, batch: int = BATCH) -> Features:
        """[B, F] of input that already is as the contract says, in any precision. Raises ConfigError where its shape is
        another."""
        given = torch.as_tensor(prepared)
        return self._encode(given.float() if given.is_floating_point() else given, batch, torch.stack)

    def _points(self) -> PointsContract:
        if not isinstance(self.contract, PointsContract):
            raise ConfigError(
                f"{self.reference} reads images, not Gaussians; use encode_images, or load a point encoder"
            )
        return self.contract

    def _encode(self, items: Iterable[Item], batch: int, read: Callable[[list[Item]], Tensor]) -> Features:
        if batch < 1:
            raise ConfigError(f"batch {batch}: expected 1 or more")
        device = device_of(self.encoder)
        parts = [np.empty((0, self.feature_dim), dtype=np.float32)]
        with torch.inference_mode():
            for some in _batched(items, batch):
                parts.append(self.encoder(read(some).to(device)).float().cpu().numpy())
        return np.concatenate(parts)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _stacked(inputs: Iterable[NDArray[np.float32]]) -> Tensor:
    return torch.from_numpy(np.stack(list(inputs)))
