"""Small sets of plain points and meshes, in the exact layouts that people have."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

CLASSES = ("ball", "night_stand")
POINTS = 60


def shape(class_name: str, rng: np.random.Generator, count: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] and unit normals [N, 3] of a sphere or of a flat box's two large sides."""
    normals = rng.normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    if class_name == "ball":
        return normals.astype("f4"), normals.astype("f4")
    side = np.sign(rng.normal(size=(count, 1)))
    xyz = np.hstack([rng.uniform(-1, 1, (count, 2)), 0.2 * side])
    return xyz.astype("f4"), np.hstack([np.zeros((count, 2)), side]).astype("f4")


def write_flat(
    root: Path, write: Callable[[Path, np.ndarray, np.ndarray], None], ending: str, *, train: int = 6, test: int = 2
) -> Path:
    """`<class>/<split>/<name>.<ending>`."""
    rng = np.random.default_rng(0)
    for class_name in CLASSES:
        for split, count in (("train", train), ("test", test)):
            (root / class_name / split).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                write(root / class_name / split / f"{class_name}_{i:04d}.{ending}", *shape(class_name, rng))
    return root


def write_npy(path: Path, xyz: np.ndarray, normals: np.ndarray) -> None:
    np.save(path, np.hstack([xyz, normals]))


def write_bare_npy(path: Path, xyz: np.ndarray, normals: np.ndarray) -> None:
    np.save(path, xyz)


def write_txt(path: Path, xyz: np.ndarray, normals: np.ndarray) -> None:
    np.savetxt(path, np.hstack([xyz, normals]), fmt="%.6f", delimiter=",")


def write_normal_resampled(root: Path) -> Path:
    """modelnet40_normal_resampled: classes, and lists beside them."""
    rng, names = np.random.default_rng(0), {"train": [], "test": []}
    for class_name in CLASSES:
        (root / class_name).mkdir(parents=True)
        for i in range(6):
            name = f"{class_name}_{i + 1:04d}"
            names["train" if i < 4 else "test"].append(name)
            write_txt(root / class_name / f"{name}.txt", *shape(class_name, rng))
    for split, found in names.items():
        (root / f"modelnet40_{split}.txt").write_text("\n".join(found) + "\n")
        (root / f"modelnet10_{split}.txt").write_text("\n".join(name for name in found if "ball" in name) + "\n")
    (root / "modelnet40_shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    (root / "filelist.txt").write_text("ball/ball_0001.txt\n")
    return root


def write_h5(path: Path, labels: list[int], *, normals: bool, seed: int = 0, names: tuple[str, ...] = CLASSES) -> None:
    """One .h5 as ModelNet40's, compressed in chunks."""
    import h5py

    rng = np.random.default_rng(seed)
    shapes = [shape(names[label % len(names)], rng) for label in labels]
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "data", data=np.stack([xyz for xyz, _ in shapes]), compression="gzip", chunks=(2, POINTS, 3)
        )
        file.create_dataset("label", data=np.array(labels, "u1")[:, None])
        if normals:
            file.create_dataset("normal", data=np.stack([each for _, each in shapes]))


def write_modelnet40_h5(root: Path) -> Path:
    """modelnet40_ply_hdf5_2048."""
    for i in range(2):
        write_h5(root / f"ply_data_train{i}.h5", [0, 1, 0, 1], normals=True, seed=i)
    write_h5(root / "ply_data_test0.h5", [1, 0, 1, 0], normals=True, seed=2)
    (root / "shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    for split, count in (("train", 2), ("test", 1)):
        lines = [f"data/modelnet40_ply_hdf5_2048/ply_data_{split}{i}.h5" for i in range(count)]
        (root / f"{split}_files.txt").write_text("\n".join(lines) + "\n")
        (root / f"ply_data_{split}_0_id2file.json").write_text("[]")
    return root


def write_scanobjectnn(root: Path) -> Path:
    """main_split/ of ScanObjectNN, a variant beside the plain pair; labels are numbers of its 15 classes."""
    for variant in ("", "_augmentedrot_scale75"):
        for split, labels in (("training", [4, 14, 4, 14, 4]), ("test", [4, 14])):
            write_h5(root / f"{split}_objectdataset{variant}.h5", labels, normals=False)
    import h5py

    with h5py.File(root / "training_objectdataset.h5", "a") as file:
        file.create_dataset("mask", data=np.zeros((5, POINTS), "i4"))
    return root


TETRAHEDRON = ("0 0 0", "1 0 0", "0 1 0", "0 0 1")
CUBE = tuple(f"{x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1))
FACES = {
    "ball": ("3 0 2 1", "3 0 1 3", "3 0 3 2", "3 1 2 3"),
    "night_stand": ("4 0 1 3 2", "4 4 5 7 6", "4 0 1 5 4", "4 2 3 7 6", "4 0 2 6 4", "4 1 3 7 5"),
}


def write_off(path: Path, class_name: str, stretch: float) -> None:
    vertices = [f"{line} ".replace("1 ", f"{stretch} ", 1) for line in (TETRAHEDRON if class_name == "ball" else CUBE)]
    faces = FACES[class_name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["OFF", f"{len(vertices)} {len(faces)} 0", *vertices, *faces]) + "\n")


def write_meshes(root: Path, *, train: int = 3, test: int = 1) -> Path:
    """ModelNet's folders."""
    for class_name in CLASSES:
        for split, count in (("train", train), ("test", test)):
            for i in range(count):
                write_off(root / class_name / split / f"{class_name}_{i:04d}.off", class_name, 1 + 0.2 * i)
    return root


def zipped(folder: Path, archive: Path, around: str = "") -> Path:
    """An archive of all files below a folder, with another folder around them or none."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, f"{around}{file.relative_to(folder)}")
    return archive
