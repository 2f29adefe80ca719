"""Local response normalisation holds back what is far out of range (Li et al., SC'17)."""

import pytest
import torch

#: A single large input among ones: its output, and the factor that its neighbours are scaled by,
#: to one or two digits.
EXPECTED = {1e2: (87.2, 0.87), 1e3: (101.9, 0.10), 1e4: (33.4, 0.0033), 1e6: (3.3, 3e-6)}


@pytest.mark.parametrize("value", EXPECTED)
def test_large_values_come_out_small(value: float) -> None:
    norm = torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
    x = torch.ones(1, 9, 1, 1)
    x[0, 4] = value
    y = norm(x)[0, :, 0, 0]
    output, neighbours = EXPECTED[value]
    assert float(y[4]) == pytest.approx(output, rel=0.02)
    assert float(y[3]) == pytest.approx(neighbours, rel=0.15)
    assert float(y[0]) == pytest.approx(1.0, rel=1e-3)


def test_infinity_becomes_not_a_number() -> None:
    x = torch.ones(1, 9, 1, 1)
    x[0, 4] = torch.inf
    y = torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)(x)
    assert torch.isnan(y[0, 4, 0, 0])
