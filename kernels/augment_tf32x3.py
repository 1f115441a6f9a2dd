"""Pictures into a batch for tensor cores, which all read the same layout: see augment_tf32.py."""

from .augment_tf32 import forward

__all__ = ["forward"]
