"""The model card: one Markdown page per registered model, readable without this project.

What it is, what goes in, where it came from, how it was found to be, how to run it with torch alone, and what it should
not be trusted with.
"""

from collections.abc import Iterable

from registry.versions.records import Lineage
from ssl_core.models.cards import Card

NOT_EVALUATED = "Not evaluated yet."


def render_card(name: str, card: Card, lineage: Lineage, evaluation: str = NOT_EVALUATED) -> str:
    """The whole page; `evaluation` is what stands under that heading, as Markdown."""
    text = card.describe()
    how = "trained elsewhere" if lineage.source else "pretrained without labels by a self-supervised recipe"
    labels = f"label-free on your data, with {lineage.supervision}," if lineage.supervision else "without labels"
    how = f"pretrained {labels} by the `{lineage.recipe}` recipe" if lineage.recipe else how
    shape = ", ".join(["B", *map(str, card.input_shape)])
    limits = (
        "Measured on the data named above alone; other objects and scenes, noisy or occluded ones, were not tried.",
        "Random networks are strong baselines: read the difference to the baseline, not the result alone.",
        *text.limits,
    )
    parts = [
        f"# {name}",
        f"A `{text.network}` that {text.does}, {how} ({lineage.origin}). {text.purpose}",
        f"## Input\n\n`float32 [{shape}]`\n\n{text.takes}",
        f"## Evaluation\n\n{evaluation}",
        f"## Use\n\n{_use(card)}",
        f"## Settings\n\n{_table(card.settings())}",
        f"## Lineage\n\n{_table((key.replace('_', ' '), str(value)) for key, value in lineage if value != '')}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits),
    ]
    return "\n\n".join(parts) + "\n"


def describe_version(card: Card, lineage: Lineage, found: str = NOT_EVALUATED) -> str:
    """A few lines of Markdown for the description shown beside a version; `found` says what its evaluation found."""
    text = card.describe()
    return f"**{text.title}** ({text.network}) from {lineage.origin}.\n\n{found}"


def _use(card: Card) -> str:
    text, given, got = card.describe(), card.input_name, card.output_name
    return (
        "`program.pt2` needs torch and nothing else; any batch size:\n\n"
        "```python\nimport torch\n\n"
        'model = torch.export.load("program.pt2").module()\n'
        f"{given} = {text.sample}\n"
        "with torch.inference_mode():\n"
        f"    {got} = model({given})  # {[4, *card.output_shape]}\n```\n\n"
        f"`encoder.onnx`, where it is there, gives the same {got} under onnxruntime (from a numpy array):\n\n"
        "```python\nimport onnxruntime\n\n"
        'session = onnxruntime.InferenceSession("encoder.onnx")\n'
        f'{got} = session.run(["{got}"], {{"{given}": {given}.numpy()}})[0]\n```\n\n'
        f"With this project installed, `registry.pull.load(reference)` gives a model that reads {text.reads} "
        f"(`{text.method}`) and checks what it is given, and `ssl_core.models.bundle.load_bundle(folder)` a trainable "
        "module. `encoder.safetensors` and `encoder.json` hold the same weights, architecture and input. "
        "`mlflow models serve` serves the version over HTTP. `checksums.json` holds the sha256 of each file."
    )


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in rows)])
