"""Packs as trials read them: mapped arrays, sampling, batches, augmentation."""
