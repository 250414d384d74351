"""Every error a user can meet, as one tree.

    SplatsweepError
    ├── DataError                 something on disk is not what it should be; names the file
    │   ├── GaussianFileError     a file of Gaussians (.splat, .spz, .sog, ...)
    │   │   └── PlyError          a .ply file (property, count, value)
    │   ├── ImageError            an image file
    │   ├── MeshError             a mesh file
    │   ├── CameraError           a camera file (cameras.json, transforms.json, COLMAP)
    │   ├── LayoutError           a folder tree (missing split, object without views, empty class)
    │   └── PackError             a DatasetPack (schema, digest, half-written)
    ├── ConfigError               a key, value or combination; names the key and the nearest valid one
    │   ├── SpaceError            a search-space file
    │   └── InfeasibleError       a valid config that this pack cannot serve (outcome INFEASIBLE)
    ├── DivergedError             a loss or gradient became non-finite (outcome DIVERGED)
    ├── CheckpointError           a checkpoint that does not fit its trial
    ├── StudyError                a study (name taken, nothing to resume, no trial finished)
    ├── RegistryError             a registered model, version or alias
    │   └── IntegrityError        bytes that do not match their recorded checksum
    ├── StorageError              a disk that is full or cannot be written
    └── MissingDependencyError    an optional library that is not installed

The text of each says what was expected and what to do next. The command line prints it on one line and leaves with
`exit_code`; a traceback means a bug of ours.
"""


class SplatsweepError(Exception):
    """Base of all errors that are the user's to mend. `str(error)` names the thing and the remedy."""

    exit_code = 2


class DataError(SplatsweepError):
    """Input data is unusable."""


class GaussianFileError(DataError):
    """A file of Gaussians cannot be read."""


class PlyError(GaussianFileError):
    """A Gaussian .ply cannot be read."""


class ImageError(DataError):
    """An image cannot be read."""


class MeshError(DataError):
    """A mesh cannot be read."""


class CameraError(DataError):
    """A camera file cannot be read."""


class LayoutError(DataError):
    """A data set's folders do not follow a known layout."""


class PackError(DataError):
    """A DatasetPack is missing, half-written, changed or too old."""


class ConfigError(SplatsweepError):
    """A configuration key or value is wrong."""


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
