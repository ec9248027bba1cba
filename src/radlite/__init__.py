"""RadLite: small language models as a multi-task radiology assistant on an ordinary CPU."""

__version__ = "0.1.0"
