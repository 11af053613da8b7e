"""Terms, regularizers, costs and weights of classes. Each technique is imported on first use."""

from convsmith.catalog import lazily

__getattr__, __dir__ = lazily(__name__)
