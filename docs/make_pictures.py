"""The pictures that README shows: the top of a study's report, and nearest neighbours of objects among objects.

    python docs/make_pictures.py STUDY --pack PACK [--model multiview-contrast-points@champion] [--out docs/pictures]
                                 [--browser chromium]

`report.png` needs a browser of Chromium's kind (`--browser`, or one on PATH); without one that picture stays as it is.
`neighbours.png` is of any pack of objects: its test objects, and an encoder of points. SPLATSWEEP_HOME and
MLFLOW_TRACKING_URI say where study and registry are, as for the command line.
"""

import argparse
import shutil
import subprocess
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from registry.pull import load
from ssl_core.data.object_pack import Pack
from ssl_core.data.point_sampler import PointSampler
from ssl_core.evaluation.extract import point_features
from ssl_core.evaluation.pictures import neighbours_png, pack_examples
from ssl_core.evaluation.ranking import retrieve
from study.datasets.pack_storage import open_data
from study.spec.home import study_folder

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
MOST_BYTES = 150_000
"""of a picture; one that is larger gets fewer colours"""
WIDTH, HEIGHT = 1180, 760
"""of the report's top, in pixels"""


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--pack", required=True)
    parser.add_argument("--model", default="multiview-contrast-points@champion")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pictures")
    parser.add_argument("--browser", default=next((found for name in BROWSERS if (found := shutil.which(name))), None))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    _write(given.out / "neighbours.png", neighbours(given.model, given.pack))
    if given.browser is None:
        print(f"report.png: no browser; name one with --browser (looked for {', '.join(BROWSERS)})")
    else:
        _write(given.out / "report.png", report_top(given.browser, study_folder(given.study) / "report.html"))


def neighbours(reference: str, place: str) -> bytes:
    """PNG: test objects of the pack, each with its five nearest others by cosine of the encoder's features."""
    model, pack = load(reference), open_data(place)
    assert isinstance(pack, Pack), f"{place}: a pack of objects is needed"
    objects = pack.objects("test")
    features = point_features(model.module, PointSampler(pack, model.card.contract, objects), objects, draw=0)
    labels = pack.labels[objects]
    found = retrieve(features, features, labels, labels, exclude_self=True)
    same = f"{100 * found.recall[1].mean():.0f} % of all {len(objects)} test objects have one of their class nearest"
    return neighbours_png(pack_examples(pack, found, objects, objects, rows=5, size=80), f"{model.reference}: {same}")


def report_top(browser: str, page: Path) -> bytes:
    """PNG: the beginning of the page as a browser draws it."""
    with tempfile.TemporaryDirectory() as scratch:
        shot = Path(scratch) / "shot.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={scratch}/profile", f"--window-size={WIDTH},{HEIGHT}", "--virtual-time-budget=8000",
                f"--screenshot={shot}", page.absolute().as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        return shot.read_bytes()


def _write(path: Path, picture: bytes) -> None:
    """With as many colours as fit in `MOST_BYTES`."""
    image = Image.open(BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        stream = BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
        if stream.tell() <= MOST_BYTES:
            break
    path.write_bytes(stream.getvalue())
    print(f"{path}: {image.width} x {image.height}, {stream.tell():,} bytes")


if __name__ == "__main__":
    main()
