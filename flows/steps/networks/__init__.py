"""Networks on arrays: the only place that imports torch, lightning and segmentation-models-pytorch, which the extra `deep` brings."""
