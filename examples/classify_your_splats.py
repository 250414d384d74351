"""Classify your own splats: a pretrained encoder, a few labelled objects per class, a linear model on top.

    python examples/classify_your_splats.py my_splats multiview-contrast-points@champion

my_splats/<class>/*.ply are labelled; my_splats/unknown/*.ply get a class. The encoder may also be a pulled folder.
The cells (`# %%`) open as a notebook in VS Code, Spyder or Jupytext.
"""

# %% Which splats, which encoder
import sys
from collections import Counter
from pathlib import Path

from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from registry.pull import load
from ssl_core.evaluation.statistics import bootstrap_mean

if len(sys.argv) != 3:
    sys.exit(__doc__)
folder, encoder = Path(sys.argv[1]), load(sys.argv[2])
files = sorted(folder.glob("*/*.ply"))
labelled = [file for file in files if file.parent.name != "unknown"]
unknown = [file for file in files if file.parent.name == "unknown"]
classes = [file.parent.name for file in labelled]
fewest = min(map(classes.count, classes), default=0)
if len(set(classes)) < 2 or fewest < 2:
    sys.exit(f"{folder}: expected two classes or more, each a folder with two .ply or more; found {Counter(classes)}")

# %% Features: one row per object, no training
features = encoder.encode_ply(labelled)
print(f"{len(labelled)} objects of {len(set(classes))} classes -> {features.shape}")

# %% A linear model on frozen features, tried on objects it was not fitted to
model = make_pipeline(StandardScaler(), LinearSVC())
guesses = cross_val_predict(model, features, classes, cv=min(5, fewest))
accuracy = bootstrap_mean([guess == true for guess, true in zip(guesses, classes, strict=True)])
print(f"accuracy on held-out objects: {accuracy.percent()} %")

# %% The class of the others
if unknown:
    for file, guess in zip(unknown, model.fit(features, classes).predict(encoder.encode_ply(unknown)), strict=True):
        print(f"{file.name}: {guess}")
