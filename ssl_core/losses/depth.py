"""Losses of depth maps, as monocular networks are trained by; void is 0 in the truth.

Scale-invariant logarithmic error: Eigen, Puhrsch, Fergus, NeurIPS 2014, arXiv 1406.2283, equation 4. Gradients over
scales: Li, Snavely, MegaDepth, CVPR 2018, arXiv 1804.00607, equation 3. Both as the depth probe of DINOv2 and FiT3D has
them, where the second takes batch and channel for height and width.
"""

from torch import Tensor

EPSILON = 1e-3
SCALES = 4


def scale_invariant_log_loss(predicted: Tensor, truth: Tensor, *, warm: bool = False, share: float = 0.15) -> Tensor:
    """sqrt(var(g) + share mean(g)^2) of g = log predicted - log truth over known pixels; 0 where none is known.

    Args:
        predicted, truth: [B, H, W], above 0; a truth of 0 does not count.
        warm: without the variance, as in the first steps of the reference.
        share: of the squared mean.
    """
    g = _differences(predicted, truth)[truth > 0]
    if g.numel() < 2:
        return predicted.sum() * 0
    spread = 0.0 if warm else g.var()
    # a square root has no gradient at zero
    return (spread + share * g.mean().square()).clamp_min(1e-12).sqrt()


def gradient_loss(predicted: Tensor, truth: Tensor, scales: int = SCALES) -> Tensor:
    """Mean absolute differences of g at neighbours, right and down, summed over every 1st, 2nd, 4th, ... pixel; shapes
    as in `scale_invariant_log_loss`."""
    return _over_scales(_differences(predicted, truth), truth > 0, scales)


def gradient_loss_as_released(predicted: Tensor, truth: Tensor, scales: int = SCALES) -> Tensor:
    """The same of maps [B, 1, H, W] indexed as if they were [H, W]: 0 for two images, as nothing lies one step further
    in batch or channel, and differences of other images for more."""
    g, known = _differences(predicted, truth)[:, None], (truth > 0)[:, None]
    return _over_scales(g.movedim((0, 1), (-2, -1)), known.movedim((0, 1), (-2, -1)), scales, apart=2)


def _differences(predicted: Tensor, truth: Tensor) -> Tensor:
    return (predicted + EPSILON).log() - (truth + EPSILON).log()


def _over_scales(g: Tensor, known: Tensor, scales: int, apart: int = 1) -> Tensor:
    total = g.sum() * 0
    for scale in range(scales):
        step = 2**scale
        some, valid = g[..., ::step, ::step], known[..., ::step, ::step]
        for axis in (-2, -1):
            length = some.shape[axis] - apart
            if length < 1:
                continue
            change = (some.narrow(axis, apart, length) - some.narrow(axis, 0, length)).abs()
            both = valid.narrow(axis, apart, length) & valid.narrow(axis, 0, length)
            total = total + (change * both).sum() / valid.sum().clamp_min(1)
    return total
