"""Arithmetic by name; the Functions are those of the operators, in tensor.py."""

from typing import Any

from ..tensor import Tensor


def add(x: Tensor, other: Any) -> Tensor:
    """x + other, with broadcasting."""
    return x + other


def matmul(x: Tensor, other: Tensor) -> Tensor:
    """x (n, k) @ other (k, m) -> (n, m)"""
    return x @ other


def sum(x: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
    """Sum over the dimensions `dim`, or over all."""
    return x.sum(dim, keepdim)


def mean(x: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
    """Mean over the dimensions `dim`, or over all."""
    return x.mean(dim, keepdim)
