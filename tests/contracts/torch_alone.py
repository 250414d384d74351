"""Run exported programs in a process where nothing but torch and its own dependencies can be imported."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

CHILD = r'''
import json, sys
folder, allowed, names = sys.argv[1], set(json.loads(sys.argv[2])), json.loads(sys.argv[3])


class Guard:
    """The interpreter's own finders, for allowed modules only: all others do not exist."""

    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        # _sysconfigdata...: the standard library's build settings, named after the platform
        if name.partition(".")[0] not in allowed and not name.startswith("_sysconfigdata"):
            return None
        specs = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in specs if spec is not None), None)


early = [m for m in sys.modules if m.partition(".")[0] not in allowed | {"__main__"}]
assert not early, f"imported before the guard: {early}"
sys.meta_path[:] = [Guard(list(sys.meta_path))]
for banned in ("ssl_core", "torchvision", "mlflow", "ray", "numpy", "safetensors", "pydantic"):
    try:
        __import__(banned)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{banned} can be imported, the guard does not hold")

import torch

torch.set_num_threads(1)
worst = {}
for name in names:
    program = torch.export.load(f"{folder}/{name}/program.pt2").module()
    pairs = torch.load(f"{folder}/{name}/pairs.pt", weights_only=True)
    with torch.no_grad():
        worst[name] = [(program(x) - y).abs().max().item() for x, y in pairs.values()]
        assert all(program(x).shape == y.shape for x, y in pairs.values()), name
print(json.dumps(worst))
'''


def torch_and_its_dependencies() -> set[str]:
    """Top-level module names of torch, of what its distribution requires, and of the standard library."""
    wanted, waiting = set(), ["torch"]
    while waiting:
        name = waiting.pop()
        if name in wanted:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        wanted.add(name)
        for requirement in map(Requirement, requirements):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name.lower().replace("_", "-"))
    tops = metadata.packages_distributions()
    modules = {top for top, owners in tops.items() if wanted & {owner.lower().replace("_", "-") for owner in owners}}
    # an editable or site hook that the interpreter starts with is not something a program could use
    return modules | set(sys.stdlib_module_names) | startup_modules()


def startup_modules() -> set[str]:
    """What a bare isolated interpreter has imported by itself."""
    command = [sys.executable, "-I", "-c", "import sys; print(' '.join(sys.modules))"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    return {name.partition(".")[0] for name in listed}


def run_with_torch_alone(folder: Path, names: list[str]) -> dict[str, list[float]]:
    """Load `folder/NAME/program.pt2`, run it on the inputs of `pairs.pt`; the largest difference per
    batch.
    """
    allowed = sorted(torch_and_its_dependencies())
    command = [sys.executable, "-I", "-c", CHILD, str(folder), json.dumps(allowed), json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    worst: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return worst
