"""Sums of products on an array, term by term: what cells do, read off the definition."""

import numpy as np

from radhard.arith.cell import Cells


def sign_extended(value, bits: int):
    """The low bits as a number: of two's complement, or unsigned where ``bits`` are negative."""
    low = value % 2 ** abs(bits)
    return np.where(low >= 2 ** (bits - 1), low - 2**bits, low) if bits > 0 else low


def matrix_sums(a, w, cells: Cells, start, restart: int) -> np.ndarray:
    """For every sum: products of cells one after the other, through the latches if any is stuck."""
    rows, cols = cells.which.shape
    product_bits, sum_bits, latched = cells.bits.tolist()
    found = np.zeros((len(a), w.shape[1]), np.int64)
    for n in range(w.shape[1]):
        col = n % cols
        total = np.zeros(len(a), np.int64)
        held = np.full(len(a), start[n], np.int64)
        for k in range(len(w)):
            row = k % rows
            code = (a[:, k] & cells.operand[0, row, col]) | cells.operand[1, row, col]
            one = cells.tables[cells.which[row, col], w[k, n]][code].astype(np.int64)
            one = (one & cells.product[0, row, col]) | cells.product[1, row, col]
            one = sign_extended(one, product_bits)
            if not latched:
                held += one
                continue
            if restart and k and k % restart == 0:
                total, held = total + held, np.zeros(len(a), np.int64)
            held = ((held + one) & cells.psum[0, row, col]) | cells.psum[1, row, col]
            held = sign_extended(held, sum_bits)
        found[:, n] = total + held
    return found
