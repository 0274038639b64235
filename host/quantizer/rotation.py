# SPDX-License-Identifier: Apache-2.0
"""Rotation of attention heads: changes of basis that keep the float result and reduce the quantization noise.

Only ``q . k`` and ``proj(out)`` matter, so a head's Q may be multiplied by any invertible A and its K by A^-T, its V by
B and the columns of ``proj`` by B^-T. The noise of quantizing both factors is least when both have the same, flat
spectrum: first balance the two covariances, then distribute them over all channels with a Hadamard matrix.
"""

import torch
from torch import Tensor

LEAST = 1e-150
"""Moments below this count as 0."""


def hadamard(size: int) -> Tensor:
    """Orthonormal matrix with entries of (nearly) one magnitude; a size with an odd factor m: times an m x m DCT."""
    matrix, odd = torch.ones(1, 1, dtype=torch.float64), size
    while odd % 2 == 0:
        odd //= 2
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)], 0)
    matrix = matrix / len(matrix) ** 0.5
    if odd > 1:
        k = torch.arange(odd, dtype=torch.float64)
        dct = torch.cos(torch.pi / odd * (k + 0.5) * k[:, None]) * (2 / odd) ** 0.5
        dct[0] /= 2 ** 0.5
        matrix = torch.kron(matrix, dct)
    return matrix


def _root(moment: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Symmetric square root of a positive matrix and its inverse; eigenvalues at least ``floor`` of their mean."""
    value, vector = torch.linalg.eigh(moment)
    value = value.clamp(min=float(value.mean()) * floor).sqrt()
    return vector * value @ vector.T, vector / value @ vector.T


def _signed(vector: Tensor) -> Tensor:
    """Eigenvectors (columns) with signs that do not depend on the eigenvalue solver."""
    probe = torch.cos(2.0 ** 0.5 * torch.arange(1, len(vector) + 1, dtype=vector.dtype))
    return torch.where(probe @ vector < 0, -vector, vector)


def balance(left: Tensor, right: Tensor, floor: float = 1e-3) -> tuple[Tensor, Tensor]:
    """``A`` and ``A^-T`` [d, d] (float64): x of moment ``left`` becomes x A, y of moment ``right`` becomes y A^-T;
    products x . y stay, and both new moments are the same matrix with a flat diagonal. Where either is zero, all
    products are, and the basis stays as it is.
    """
    size = [float(moment.diagonal().mean()) for moment in (left, right)]
    if min(size) < LEAST:
        identity = torch.eye(len(left), dtype=torch.float64)
        return identity, identity
    # Scaled to mean 1, so that no power leaves the range of float64; A contains the scale.
    root, inverse = _root(left / size[0], floor)
    value, vector = torch.linalg.eigh(root @ _floored(right / size[1], floor) @ root)
    value, vector, mixing = value.clamp(min=1e-30) ** 0.25, _signed(vector), hadamard(len(left))
    ratio = (size[1] / size[0]) ** 0.25
    return inverse @ vector * value @ mixing * ratio, root @ vector / value @ mixing / ratio


def _floored(moment: Tensor, floor: float) -> Tensor:
    return moment + floor * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)


def head_moments(values: Tensor, heads: int, centre: bool) -> Tensor:
    """Moments [H, d, d] of ``values`` [T, H * d], about their mean when ``centre``."""
    parts = values.double().unflatten(-1, (heads, -1)).transpose(0, 1)  # [H, T, d]
    parts = parts - parts.mean(1, keepdim=True) if centre else parts
    return parts.mT @ parts / parts.shape[1]


def rotate_rows(weight: Tensor, bias: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Linear whose results [T, H * d] are multiplied by ``basis`` [H, d, d]."""
    heads = len(basis)
    rows = weight.unflatten(0, (heads, -1))
    return ((basis.mT @ rows).flatten(0, 1), (bias.unflatten(0, (heads, 1, -1)) @ basis).flatten())


def rotate(values: Tensor, basis: Tensor) -> Tensor:
    """``values`` [T, H * d] multiplied by ``basis`` [H, d, d], head by head."""
    parts = values.unflatten(-1, (len(basis), -1)).transpose(0, 1)
    return (parts @ basis.to(values)).transpose(0, 1).flatten(1)


def rotate_columns(weight: Tensor, dual: Tensor) -> Tensor:
    """Columns of a linear [O, H * d] for inputs that were multiplied by A: ``dual`` [H, d, d] is A^-T."""
    parts = weight.unflatten(1, (len(dual), -1)).transpose(0, 1)
    return (parts @ dual).transpose(0, 1).flatten(1)
