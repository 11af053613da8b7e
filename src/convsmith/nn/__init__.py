"""Layers, initializations, norms, and what can be known of a net. Each technique is imported on first use."""

from convsmith.catalog import lazily

__getattr__, __dir__ = lazily(__name__)
