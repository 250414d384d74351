"""ModelNet40 as point clouds are handed around: classes with split lists, and sets in .h5 files.

    <class>/<name>.txt and modelnet40_train.txt, modelnet40_test.txt     modelnet40_normal_resampled (Qi et al. 2017)
    ply_data_train0.h5 ..., ply_data_test0.h5 ..., shape_names.txt       modelnet40_ply_hdf5_2048 (Qi et al. 2017)
    training_objectdataset.h5, test_objectdataset.h5                     ScanObjectNN (Uy et al. 2019)

An .h5 file has `data` [n, N, 3] and `label` [n] or [n, 1]; where it has `normal` [n, N, 3], points have normals.
`train_files.txt` and `test_files.txt`, where they are, say which file is of which split, else its name does. Of the
variants of ScanObjectNN that lie in one folder, the one of the names above counts. Its `mask` is not read.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ssl_core.clouds.point_cloud import CLOUD_SUFFIXES
from ssl_core.errors import DataError, LayoutError
from ssl_core.files.h5_file import read_all, shapes
from ssl_core.files.source import FileSource, H5Source, Source, ZipSource, read_bytes
from ssl_core.packing.layout_reference import ViewFiles, with_extras
from ssl_core.packing.listing import Listing
from ssl_core.packing.objects import SAFE_NAME, SPLITS, Problem, SplatObject, summed, unsafe_name

SCANOBJECTNN = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)  # fmt: skip
"""Its classes in the order of their labels, which come with its code and not with its files."""

_LIST = re.compile(r"modelnet([0-9]{1,6})_(train|test)\.txt")
_MAX_LIST = 2**26

Found = tuple[list[SplatObject], list[Problem]]


def has_class_lists(listing: Listing) -> bool:
    """Whether lists of a split lie beside the folders of classes."""
    return any(_LIST.fullmatch(path) for path in listing.files)


def listed_objects(points: Listing, views: ViewFiles | None) -> Found:
    """Objects that the lists name, of several pairs of lists those of the most classes. Raises LayoutError."""
    lists = [match for path in points.files if (match := _LIST.fullmatch(path))]
    classes = max(int(match[1]) for match in lists)
    splits: dict[str, str] = {}
    problems: list[Problem] = []
    both: list[str] = []
    for match in sorted((match for match in lists if int(match[1]) == classes), key=lambda match: match[2]):
        names = _lines(points.files[match[0]])
        both += [name for name in names if splits.setdefault(name, match[2]) != match[2]]
    problems += summed(both, points.root, "object in the lists of both splits; take it out of one")
    files = {path.rpartition(".")[0]: path for path in points.files if path.lower().endswith(CLOUD_SUFFIXES)}
    objects, missing = [], []
    for name, split in splits.items():
        class_name = name.rpartition("_")[0]
        path = files.get(f"{class_name}/{name}")
        if not (SAFE_NAME.fullmatch(name) and SAFE_NAME.fullmatch(class_name)):
            problems.append(unsafe_name(points.root, name))
        elif path is None:
            missing.append(f"{class_name}/{name}")
        elif name not in both:
            objects.append(SplatObject(class_name, split, name, points.files[path], ()))
    problems += summed(missing, points.root, "listed object without a file; fetch it or take it off the list")
    return _with_views(objects, problems, points, views)


def h5_files(listing: Listing) -> list[str]:
    """The .h5 files that lie in a folder itself."""
    return [path for path in listing.files if "/" not in path and path.lower().endswith(".h5")]


def h5_objects(points: Listing, views: ViewFiles | None) -> Found:
    """One object a row of each file.

    Raises:
        LayoutError: a file cannot be read or lacks an array, a label has no name, or a file is of no split.
        MissingDependencyError: h5py is not installed.
    """
    objects: list[SplatObject] = []
    for path, split in _splits_of_files(points):
        source = points.files[path]
        assert isinstance(source, FileSource | ZipSource)
        try:
            objects += _rows(source, split, _class_names(points, path))
        except DataError as error:
            raise LayoutError(str(error)) from None
    return _with_views(objects, [], points, views)


def _splits_of_files(points: Listing) -> Iterator[tuple[str, str]]:
    """Every .h5 file of the set with its split. Raises LayoutError for one that is of none."""
    files = h5_files(points)
    plain = [f"{word}_objectdataset.h5" for word in ("training", "test")]
    if set(plain) <= set(files):
        files = [path for path in files if path in plain or "_objectdataset" not in path]
    listed = {
        line.rpartition("/")[2]: split
        for split in SPLITS
        if (source := points.files.get(f"{split}_files.txt")) is not None
        for line in _lines(source)
    }
    for path in files:
        split = listed.get(path) or next((split for split in SPLITS if split in path.lower()), None)
        if split is None:
            raise LayoutError(
                f"{points.place(path)}: neither train_files.txt, test_files.txt nor its name says of which split it "
                "is; list it there, or rename it"
            )
        yield path, split
    stems = {path.replace("training", "").replace("train", "").replace("test", "") for path in files}
    if len(stems) > 1 and any("_objectdataset" in path for path in files):
        raise LayoutError(
            f"{points.root}: holds several variants of one set ({', '.join(sorted(files)[:4])}, ...); give a folder "
            "with the two files of one of them"
        )


def _class_names(points: Listing, file: str) -> tuple[str, ...]:
    lists = [path for path in points.files if "/" not in path and re.search(r"shape_names(_ext)?\.txt$", path)]
    if lists:
        names = tuple(_lines(points.files[lists[0]]))
        if bad := [name for name in names if not SAFE_NAME.fullmatch(name)]:
            raise LayoutError(unsafe_name(points.place(lists[0]), bad[0]).reason)
        return names
    if "_objectdataset" in file:
        return SCANOBJECTNN
    raise LayoutError(
        f"{points.place(file)}: its labels have no names; put shape_names.txt beside it, a class a line in the order "
        "of the labels"
    )


def _rows(source: FileSource | ZipSource, split: str, names: tuple[str, ...]) -> list[SplatObject]:
    found = shapes(source)
    data, label, normal = (found.get(key) for key in ("data", "label", "normal"))
    if data is None or label is None or len(data) != 3 or data[2] != 3 or data[0] != int(np.prod(label)):
        there = ", ".join(f"{key} {list(shape)}" for key, shape in found.items())[:160]
        raise LayoutError(
            f"{source}: expected the arrays data [n, N, 3] and label [n], found {there or 'none'}; give the files of "
            "ModelNet40 or ScanObjectNN"
        )
    if normal is not None and normal != data:
        raise LayoutError(f"{source}: normal has shape {list(normal)} and data {list(data)}; export it again")
    labels = read_all(source, "label").reshape(-1).astype(np.int64)
    bad = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(bad):
        raise LayoutError(
            f"{source}: label {labels[bad[0]]} of row {bad[0]} has no name, there are {len(names)} (0 to "
            f"{len(names) - 1}); give the shape_names.txt of this set"
        )
    keys = ("data",) if normal is None else ("data", "normal")
    made = [H5Source(source, keys, row, (data[1], 3 * len(keys))) for row in range(data[0])]
    return [
        SplatObject(names[label], split, each.name.removesuffix(".npy"), each, ())
        for each, label in zip(made, labels, strict=True)
    ]


def _with_views(
    objects: Iterable[SplatObject], problems: list[Problem], points: Listing, views: ViewFiles | None
) -> Found:
    """Objects with their views, which lie where the cross-modal reference has them."""
    if views is None:
        return list(objects), problems
    seen, without = [], []
    for item in objects:
        pictures = views.of(item.key)
        if pictures:
            seen.append(with_extras(replace(item, views=pictures), item.key, views))
        else:
            without.append(f"{points.place(item.key)}")
    expected = f"object without views: expected pictures in {views.listing.root}/<class>/<train|test>/<object>"
    return seen, [*problems, *summed(without, points.root, expected)]


def _lines(source: Source) -> list[str]:
    try:
        text = read_bytes(source, _MAX_LIST).decode("utf-8-sig")
    except DataError as error:
        raise LayoutError(str(error)) from None
    except UnicodeDecodeError:
        raise LayoutError(f"{source}: is no UTF-8 text; save it as plain text, a name a line") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
