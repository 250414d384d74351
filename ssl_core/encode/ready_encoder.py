"""A model with its preprocessing: files in, features (or clouds, poses, views of a scene) out.

    encoder = registry.pull.load("cross-modal-points@champion")
    features = encoder.encode_ply(["chair.ply", "lamp.splat"])         # float32 [2, F]

Inputs stream through in batches. Features depend on the file and the seed, not on what else is encoded; the last digits
of a float32 may differ between batch sizes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_core.clouds.points_file import read_points
from ssl_core.contracts import ImageContract, PointsContract
from ssl_core.encode.model_inputs import Picture, dense_input, image_input, points_input
from ssl_core.errors import ConfigError
from ssl_core.gaussians.formats.spz_axes import SpzAxes
from ssl_core.gaussians.gaussian_cloud import GaussianCloud
from ssl_core.models.bundle import BundleCard
from ssl_core.models.cards import Card, ImageEncoderCard, PointEncoderCard
from ssl_core.models.dense_cards import DenseEncoderCard
from ssl_core.models.gaussian_field import FieldView, GaussianField
from ssl_core.models.modes import device_of
from ssl_core.models.reconstruction_cards import PoseEstimatorCard, ReconstructorCard
from ssl_core.scenes.cameras import Camera

Features = NDArray[np.float32]
BATCH = 32


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A live model, what it is, and the way to it from files."""

    module: nn.Module  # in evaluation mode, on the device where it shall run; to train it further, take this module
    bundle: BundleCard  # its card, name and lineage
    reference: str  # where it came from: `name/version`, or a folder

    @property
    def card(self) -> Card:
        return self.bundle.card

    @property
    def feature_dim(self) -> int:
        """F: channels of its output."""
        return self.card.output_shape[0]

    def encode_ply(
        self,
        files: Path | str | Sequence[Path | str],
        *,
        batch: int = BATCH,
        seed: int = 0,
        repeat: bool = False,
        drop_bad_rows: bool = False,
        spz_axes: SpzAxes | None = None,
    ) -> Features:
        """[files, F] of Gaussian files: .ply of any dialect, .splat, .spz, .sog, .ksplat; or of plain points: .pcd,
        .ply, .npy, .xyz, .pts, .txt. One file counts as a list.

        Args:
            files: one object each, upright (z up).
            batch: files held at a time.
            seed: of the points that are chosen.
            repeat: see `points_input`.
            drop_bad_rows: leave single Gaussians or points out that cannot be used, see `usable_rows`, `usable_points`.
            spz_axes: "rub" or "ply", see `read_gaussians`.

        Raises:
            GaussianFileError: a file is missing or damaged.
            InfeasibleError: a file lacks a feature group of the encoder's, or keeps too few Gaussians.
            ConfigError: this model reads something else.
        """
        contract = self._points()
        given = [files] if isinstance(files, Path | str) else files
        read = ((file, read_points(file, spz_axes=spz_axes, drop_bad_rows=drop_bad_rows)) for file in given)
        inputs = (
            points_input(found.cloud, contract, seed=seed, repeat=repeat, what=str(file), groups=found.groups)
            for file, found in read
        )
        return self._encode(map(torch.from_numpy, inputs), batch)

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
        inputs = (
            points_input(cloud, contract, seed=seed, repeat=repeat, what=f"cloud {i}")
            for i, cloud in enumerate([clouds] if isinstance(clouds, GaussianCloud) else clouds)
        )
        return self._encode(map(torch.from_numpy, inputs), batch)

    def encode_images(self, pictures: Picture | Sequence[Picture], *, batch: int = BATCH) -> Features:
        """[pictures, F] of image files or uint8 [H, W, 3] arrays. One picture counts as a list of one.

        Several views of one object: encode each and take the elementwise maximum, as the evaluation does.

        Raises:
            ImageError: a file is missing or damaged, or an array is no picture.
            ConfigError: this model reads something else.
        """
        match self.card:
            case ImageEncoderCard(contract=contract):
                return self._pictures(pictures, contract, batch)
            case _:
                raise self._reads_other("images", "features")

    def encode_dense(self, pictures: Picture | Sequence[Picture]) -> list[tuple[Features, Features]]:
        """Of each image file or uint8 [H, W, 3] array its tokens [C, h, w] and the vector of the whole image [G].

        A picture keeps its size but for what its sides are more than multiples of the patch (squeezed, as in FiT3D); a
        large one is made smaller first, to `card.height` x `card.width` pixels or so.

        Raises ImageError as `encode_images`; ConfigError: this model makes something else.
        """
        match self.card:
            case DenseEncoderCard() as card:
                given = [pictures] if isinstance(pictures, Path | str | np.ndarray) else pictures
                inputs = (dense_input(picture, card, f"picture {i}") for i, picture in enumerate(given))
                c, device = card.token_dim, device_of(self.module)
                with torch.inference_mode():  # one at a time: their sizes differ
                    found = [self.module(each[None].to(device))[0].float().cpu().numpy() for each in inputs]
                return [(features[:c], features[c:, 0, 0]) for features in found]
            case _:
                raise self._reads_other("images", "features")

    def reconstruct(self, pictures: Picture | Sequence[Picture], *, batch: int = BATCH) -> Features:
        """[pictures, N, 6] clouds, xyz in the canonical frame and RGB in [0, 1], of image files or uint8 [H, W, 3]
        arrays of one object each. Transparency is laid over black, which is what an array has to have behind the
        object; what is not square is padded.

        Raises ImageError as `encode_images`; ConfigError: this model makes something else.
        """
        match self.card:
            case ReconstructorCard(contract=contract):
                return self._pictures(pictures, contract, batch)
            case _:
                raise self._reads_other("images", "clouds")

    def estimate_poses(self, pictures: Picture | Sequence[Picture], *, batch: int = BATCH) -> Features:
        """[pictures, 2] azimuth and elevation of the camera in radians; arguments and errors as `reconstruct`."""
        match self.card:
            case PoseEstimatorCard(contract=contract):
                return self._pictures(pictures, contract, batch)
            case _:
                raise self._reads_other("images", "poses")

    def render(self, cameras: Camera | Iterable[Camera]) -> list[FieldView]:
        """Views of a scene field, one for each camera, of the camera's own picture size, on the model's device.

        Raises ConfigError: this model is no scene.
        """
        match self.module:
            case GaussianField() as field:
                with torch.inference_mode():
                    return [field.draw(camera) for camera in ([cameras] if isinstance(cameras, Camera) else cameras)]
            case _:
                raise self._reads_other("cameras", "views")

    def encode(self, prepared: NDArray[np.float32] | Tensor, *, batch: int = BATCH) -> Features:
        """[B, F] of input that already is as the card says, in any precision. Raises ConfigError where its shape is
        another."""
        given = torch.as_tensor(prepared)
        return self._encode(given.float() if given.is_floating_point() else given, batch)

    def _pictures(self, pictures: Picture | Sequence[Picture], contract: ImageContract, batch: int) -> Features:
        given = [pictures] if isinstance(pictures, Path | str | np.ndarray) else pictures
        inputs = (image_input(picture, contract, f"picture {i}") for i, picture in enumerate(given))
        return self._encode(inputs, batch)

    def _points(self) -> PointsContract:
        match self.card:
            case PointEncoderCard(contract=contract):
                return contract
            case _:
                raise self._reads_other("Gaussians")

    def _reads_other(self, asked: str, wanted: str = "features") -> ConfigError:
        text = self.card.describe()
        if text.reads == asked:
            return ConfigError(
                f"{self.reference} {text.does}; use {text.method}, or load a model that turns {asked} into {wanted}"
            )
        return ConfigError(
            f"{self.reference} reads {text.reads}, not {asked}; use {text.method}, or load a model that reads {asked}"
        )

    def _encode(self, inputs: Iterable[Tensor], batch: int) -> Features:
        """Of inputs that are made when it is their turn; one batch is held at a time."""
        if batch < 1:
            raise ConfigError(f"batch {batch}: expected 1 or more")
        device = device_of(self.module)
        parts = [np.empty((0, *self.card.output_shape), dtype=np.float32)]
        with torch.inference_mode():
            rest = iter(inputs)
            while some := list(islice(rest, batch)):
                parts.append(self.module(torch.stack(some).to(device)).float().cpu().numpy())
        return np.concatenate(parts)
