"""Every error a user can meet, as one tree.

The text of each says what was expected and what to do next. The command line prints it on one line and leaves with
`exit_code`; a traceback means a bug of ours.
"""


class SplatsweepError(Exception):
    """Base of all errors that are the user's to mend. `str(error)` names the thing and the remedy."""

    exit_code = 2


class DataError(SplatsweepError):
    """Something on disk is not what it should be; names the file."""


class GaussianFileError(DataError):
    """A file of Gaussians (.ply, .splat, .spz, .sog, .ksplat) cannot be read."""


class PlyError(GaussianFileError):
    """A Gaussian .ply cannot be read; names the property, count or value."""


class PointCloudError(GaussianFileError):
    """A plain point cloud (.pcd, .ply, .npy, .txt) cannot be read; names the file and what was found."""


class ImageError(DataError):
    """An image cannot be read."""


class MeshError(DataError):
    """A mesh cannot be read."""


class CameraError(DataError):
    """A camera file (cameras.json, transforms.json, COLMAP) cannot be read."""


class LayoutError(DataError):
    """Folders of a data set follow no known layout: a missing split, an object without views, an empty class."""


class PackError(DataError):
    """A DatasetPack is missing, half-written, changed or too old."""


class ConfigError(SplatsweepError):
    """A configuration key, value or combination is wrong; names the key and the nearest valid one."""


class SpaceError(ConfigError):
    """A search-space file is wrong."""


class InfeasibleError(ConfigError):
    """The configuration is valid but the pack (or machine) cannot serve it."""


class DivergedError(SplatsweepError):
    """A loss or gradient became non-finite; raised before the optimiser steps."""


class CheckpointError(SplatsweepError):
    """A checkpoint is incomplete or belongs to another trial."""


class StudyError(SplatsweepError):
    """A study cannot start, resume or report."""


class RegistryError(SplatsweepError):
    """A registered model, version or alias is missing or unusable."""


class NewerVersionError(RegistryError):
    """A later version of this project wrote it, and may be right; upgrading is the remedy."""


class IntegrityError(RegistryError):
    """Bytes differ from their recorded checksum."""


class StorageError(SplatsweepError):
    """A disk is full or not writable."""


class MissingDependencyError(SplatsweepError):
    """An optional library is needed for what was asked."""
