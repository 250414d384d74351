"""ShapeSplat: flat files `<category>-<object>.ply`, and lists that say which are for training.

Source: Ma et al., "ShapeSplat", 3DV 2025, and the authors' data page: one or two archives per ShapeNet category,
unpacked into one folder; the lists (`ShapeNet-55/train.txt`, `test.txt`) come with the code, one name a line, of any
ending ("02691156-1a04e3eab45ca15dd86060f189eb133.npy"). Blank lines and `#` comments are passed over. Objects of
`val.txt`, where there is one, count as train: validation objects are carved from train when the data set is packed.

The class name is the category id. ShapeNet55's point clouds (`<category>-<object>.npy`, Yu et al., "Point-BERT", CVPR
2022) come with the same lists and are read alike.
"""

from collections.abc import Iterator

from ssl_core.clouds.point_cloud import POINT_SUFFIXES
from ssl_core.errors import DataError, LayoutError
from ssl_core.files.source import FileSource, Source, read_bytes
from ssl_core.files.unicode_names import nfc
from ssl_core.gaussians.gaussian_file import companions
from ssl_core.packing.layout_reference import PART_LABELS, ViewFiles, with_extras
from ssl_core.packing.listing import Listing
from ssl_core.packing.objects import SAFE_NAME, SHOWN, Problem, SplatObject, summed, unsafe_name

LISTS = {"train.txt": "train", "val.txt": "train", "test.txt": "test"}
MAX_LIST = 2**26
"""A list of more bytes is refused; that of all 206,000 objects has 10 MB."""

_ENDINGS = tuple(ending for ending in POINT_SUFFIXES if ending != ".txt")  # a .txt is a list

_LIKELY = ("", "ShapeNet-55", "shapenet_split")  # folders that are looked into first for the lists


def has_flat_files(listing: Listing) -> bool:
    """Whether there are files named `<category>-<object>` at most two folders deep."""
    return next(_flat_files(listing), None) is not None


def shapesplat_objects(points: Listing, views: ViewFiles | None) -> tuple[list[SplatObject], list[Problem]]:
    """Objects with their views, and what cannot be used.

    Views lie in `<category>-<object>/`, or where the cross-modal reference has them; masks, cameras and part labels
    where that has them, too.

    Raises:
        LayoutError: no lists, several sets of them, or one that cannot be read.
    """
    files, problems = _files(points)
    splits, both, found = _splits(points)
    problems += found
    objects: list[SplatObject] = []
    without_views = []
    used: set[str] = set()
    labels = {
        path.rpartition("/")[2].removesuffix(PART_LABELS): source
        for path, source in points.files.items()
        if path.endswith(PART_LABELS)
    }
    of_stem: dict[str, list[Source]] = {}
    for stem, _, source in _flat_files(points):
        of_stem.setdefault(stem, []).append(source)
    for stem in sorted(files.keys() & splits.keys()):
        category, _, name = stem.partition("-")
        split = splits[stem]
        at = (stem, f"{category}/{split}/{name}", f"{category}/{name}")
        used.update(at)
        path = "" if views is None else next(filter(views.of, at), stem)
        pictures = () if views is None else views.of(path)
        if views is not None and not pictures:
            without_views.append(str(files[stem]))
        else:
            beside = companions(files[stem].name, of_stem[stem])
            item = SplatObject(
                category, split, name, files[stem], pictures, part_labels=labels.get(stem), beside=beside
            )
            objects.append(with_extras(item, path, views))
    unlisted = [str(files[stem]) for stem in sorted(files.keys() - splits.keys() - both)]
    problems += summed(unlisted, points.root, "object in no split list; add it to train.txt or test.txt")
    if views is not None:
        root = views.listing.root
        expected = f"object without views: expected pictures in {root}/<category>-<object>"
        stray = [views.listing.place(path) for path in views.folders() if path and path not in used]
        problems += summed(without_views, root, expected)
        problems += summed(stray, root, "views without object: no Gaussians of this name")
    return objects, problems


def _flat_files(listing: Listing) -> Iterator[tuple[str, int, Source]]:
    """(`<category>-<object>`, rank of the ending, source) of every file of Gaussians named so."""
    for path, source in listing.files.items():
        folder, _, name = path.rpartition("/")
        ending = f".{name.rpartition('.')[2].lower()}"
        if "-" not in name or ending not in _ENDINGS or folder.count("/") > 1 or name.endswith(PART_LABELS):
            continue
        whole = name[: -len(ending)]
        stem = whole.removesuffix(".compressed")
        if 0 < stem.find("-") < len(stem) - 1:
            yield stem, _ENDINGS.index(ending) + len(_ENDINGS) * (stem != whole), source


def _files(points: Listing) -> tuple[dict[str, Source], list[Problem]]:
    """`<category>-<object>` -> its Gaussians, of the first of the endings that it has."""
    best: dict[str, tuple[int, Source]] = {}
    twice: dict[str, None] = {}
    problems: list[Problem] = []
    for stem, rank, source in _flat_files(points):
        category, _, name = stem.partition("-")
        if not (SAFE_NAME.fullmatch(category) and SAFE_NAME.fullmatch(name)):
            problems.append(unsafe_name(points.root, source.name))
        elif stem not in best or rank < best[stem][0]:
            best[stem] = (rank, source)
            twice.pop(stem, None)
        elif rank == best[stem][0]:
            kept = _either(best[stem][1], source)
            if kept is None:
                twice[stem] = None
            else:
                best[stem] = (rank, kept)
    reason = "several different files of this object; leave all but one out"
    problems += summed([points.place(stem) for stem in twice], points.root, reason)
    return {stem: source for stem, (_, source) in best.items() if stem not in twice}, problems


def _either(a: Source, b: Source) -> Source | None:
    """The one of two files of an object that counts: the unpacked one, either of two equal ones, else none."""
    if isinstance(a, FileSource) != isinstance(b, FileSource):
        return a if isinstance(a, FileSource) else b
    return a if not isinstance(a, FileSource) and a.stamp == b.stamp else None


def _splits(points: Listing) -> tuple[dict[str, str], set[str], list[Problem]]:
    """`<category>-<object>` -> split, by the lists; those of both splits, which are left out; and problems."""
    folder = _folder_of_lists(points)
    splits: dict[str, str] = {}
    both: dict[str, None] = {}
    problems: list[Problem] = []
    for name, split in LISTS.items():
        path = f"{folder}/{name}" if folder else name
        if path not in points.files:
            if name != "val.txt":
                problems.append(Problem(points.place(path), "no such list: objects of this split are not found"))
            continue
        entries, bad = _entries(points.files[path])
        problems += summed(bad, points.place(path), "is no <category>-<object>; mend the list")
        both |= dict.fromkeys(stem for stem in entries if splits.get(stem, split) != split)
        splits |= dict.fromkeys(entries, split)
    problems += summed([*both], points.place(folder), "object in the lists of both splits; take it out of one")
    for stem in both:
        del splits[stem]
    there = {stem for stem, _, _ in _flat_files(points)}
    missing = sorted(splits.keys() - there)
    problems += summed(missing, points.place(folder), "listed object without a file; fetch it or take it off the list")
    return splits, set(both), problems


def _folder_of_lists(points: Listing) -> str:
    folders = {path.rpartition("/")[0] for path in points.files if path.rpartition("/")[2] in ("train.txt", "test.txt")}
    for likely in _LIKELY:
        if likely in folders:
            return likely
    if not folders:
        raise LayoutError(
            f"{points.root}: holds <category>-<object> files but no split lists; put train.txt and test.txt "
            "(one <category>-<object> a line, as in ShapeNet-55/) beside them"
        )
    if len(folders) > 1:
        shown = ", ".join(sorted(folders)[:SHOWN])
        raise LayoutError(f"{points.root}: several sets of split lists ({shown}); put the right one beside the files")
    return folders.pop()


def _entries(source: Source) -> tuple[list[str], list[str]]:
    """The objects of a list without endings, and places of lines that name none."""
    try:
        text = read_bytes(source, MAX_LIST).decode("utf-8-sig")
    except DataError as error:
        raise LayoutError(str(error)) from None
    except UnicodeDecodeError:
        raise LayoutError(f"{source}: is no UTF-8 text; save it as plain text, one object a line") from None
    entries, bad = [], []
    for number, line in enumerate(text.splitlines(), 1):
        entry = nfc(line.partition("#")[0].strip())
        if not entry:
            continue
        base, _, ending = entry.rpartition("/")[2].rpartition(".")
        stem = (base or ending).removesuffix(".compressed")
        category, dash, name = stem.partition("-")
        if dash and SAFE_NAME.fullmatch(category) and SAFE_NAME.fullmatch(name):
            entries.append(stem)
        else:
            bad.append(f"{source} line {number}")
    return entries, bad
