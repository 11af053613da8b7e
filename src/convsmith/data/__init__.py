"""From files to batches; samplers, augmentations and encodings of targets are imported on first use."""

from convsmith.catalog import lazily

__getattr__, __dir__ = lazily(__name__)
