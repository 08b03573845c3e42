"""Samples, splits, estimators, accuracy, cards: honest learning."""
