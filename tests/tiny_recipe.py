"""The cross-modal recipe in a second or two an epoch."""

TINY = {
    "points.num_points": 64,
    "image.image_size": 24,
    "training.epochs": 4,
    "training.batch_size": 6,
    "validation.label_draws": 3,
    "validation.labels_per_class": 2,
    "validation.views": 2,
}
